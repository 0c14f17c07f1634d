"""VeSSAL: the exact form against the dense reference, the thinned form against the exact one."""

from __future__ import annotations

import numpy as np
import pytest
import reference
import torch
from active_learn import ActiveSampler, LinearHead, ParameterError
from active_learn.inputs.pool import OutputPool
from active_learn.models import ModelOutput
from active_learn.posterior.kernels import FisherKernel
from active_learn.posterior.posterior import Posterior
from active_learn.selectors.volume_sampling import ThinnedVolumeSampler, VolumeSampler
from hypothesis import given, settings
from hypothesis import strategies as st


@settings(max_examples=80)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 60),
    d=st.integers(1, 5),
    classes=st.integers(2, 4),
    rank=st.integers(1, 3),
    n_labeled=st.integers(0, 10),
    k=st.integers(1, 20),
    ridge=st.sampled_from([0.01, 0.1, 1.0]),
    precompute=st.booleans(),
    block_rows=st.sampled_from([1, 7, 8192]),
)
def test_picks_equal_the_textbook(
    seed: int,
    n: int,
    d: int,
    classes: int,
    rank: int,
    n_labeled: int,
    k: int,
    ridge: float,
    precompute: bool,
    block_rows: int,
) -> None:
    rng = np.random.default_rng(seed)
    rank, k = min(rank, classes), min(k, n)
    logits, h = 2 * rng.normal(size=(n + n_labeled, classes)), rng.normal(size=(n + n_labeled, d))
    uniforms = rng.random(n)
    u = reference.fisher_embeddings(logits, h, rank)
    expected = reference.vessal(u[n_labeled:], u[:n_labeled], k, ridge, uniforms, precompute)

    kernel = FisherKernel("classification", rank=rank)
    x = kernel.points(ModelOutput(torch.from_numpy(logits), torch.from_numpy(h)))
    labeled = x[:n_labeled]
    sampler = VolumeSampler(x[n_labeled:], Posterior(kernel, ridge, labeled), labeled, block_rows)
    picked, gains = sampler.sample(k, torch.from_numpy(uniforms), precompute)
    assert picked == expected
    assert len(gains) == k
    assert all(gain >= 0 for gain in gains)


@pytest.fixture(scope="module")
def stream() -> tuple[np.ndarray, LinearHead]:
    rng = np.random.default_rng(0)
    norms = np.exp(0.4 * rng.normal(size=(20_000, 1)))
    h = (rng.normal(size=(20_000, 24)) * norms).astype(np.float32)
    return h, LinearHead(0.2 * rng.normal(size=(6, 24)))


@pytest.mark.parametrize("n_labeled", [0, 60])
def test_thinned_picks_are_nearly_all_exact_ones(
    stream: tuple[np.ndarray, LinearHead], n_labeled: int
) -> None:
    h, head = stream
    chosen = [
        ActiveSampler(
            "classification",
            head,
            budget=100,
            seed_fisher=True,
            labeled_data=h[:n_labeled],
            strategy="vessal",
            thinned=thinned,
            random_state=3,
        ).select(h, return_indices=True)[1]
        for thinned in (False, True)
    ]
    assert [len(set(indices)) for indices in chosen] == [100, 100]
    assert len(np.intersect1d(*chosen)) >= 90


def test_thinned_and_precomputed_exclude_each_other(
    stream: tuple[np.ndarray, LinearHead],
) -> None:
    h, head = stream
    sampler = ActiveSampler(
        "classification", head, 5, precompute_covariance=True, strategy="vessal", thinned=True
    )
    with pytest.raises(ParameterError, match="thinned"):
        sampler.select(h[:100])


def test_nothing_to_gain_still_fills_the_budget() -> None:
    head = LinearHead(np.zeros((2, 3)))
    for thinned in (False, True):
        sampler = ActiveSampler(
            "classification", head, 7, strategy="vessal", thinned=thinned, random_state=0
        )
        indices = sampler.select(np.zeros((40, 3)), return_indices=True)[1]
        assert len(set(indices)) == 7


@pytest.mark.parametrize("thinned", [False, True])
def test_the_posterior_of_the_caller_stays_as_it_was(thinned: bool) -> None:
    rng = np.random.default_rng(4)
    output = LinearHead(rng.normal(size=(3, 5)))(rng.normal(size=(80, 5)))
    kernel = FisherKernel("classification")
    x, labeled = kernel.points(output), kernel.points(output[:6])
    posterior = Posterior(kernel, 0.1, labeled, max_conditioned=40)
    before = posterior.whiten(x)
    uniforms = torch.from_numpy(rng.random(80))

    def sample() -> tuple[list[int], int]:
        if thinned:
            draws = np.random.default_rng(0)
            pool = OutputPool(output)
            sampler = ThinnedVolumeSampler(pool, posterior, kernel, labeled, 50, draws)
            return sampler.sample(uniforms)[0], sampler.posterior.size
        exact = VolumeSampler(x, posterior, labeled)
        return exact.sample(50, uniforms, False)[0], exact.posterior.size

    picked, size = sample()
    assert len(picked) == 50
    assert size == 56  # all that was kept, whatever the bound on labeled data
    assert posterior.size == 6
    assert posterior.max_conditioned == 40
    assert torch.equal(posterior.whiten(x), before)
    assert sample()[0] == picked
