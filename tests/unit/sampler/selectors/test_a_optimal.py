"""The greedy A-optimal design against the dense reference version."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
import reference
import torch
from active_learn.models import ModelOutput
from active_learn.posterior.kernels import FisherKernel, RadialKernel
from active_learn.posterior.posterior import Posterior
from active_learn.selectors import a_optimal
from active_learn.selectors.a_optimal import AOptimalDesign
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode


def outputs(rng: np.random.Generator, n: int, d: int, k: int) -> ModelOutput:
    return ModelOutput(
        torch.from_numpy(2 * rng.normal(size=(n, k))), torch.from_numpy(rng.normal(size=(n, d)))
    )


def dense(output: ModelOutput, rank: int) -> np.ndarray:
    return reference.fisher_embeddings(output.logits.numpy(), output.embedding.numpy(), rank)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 25),
    d=st.integers(1, 5),
    k=st.integers(2, 4),
    rank=st.integers(1, 3),
    n_labeled=st.integers(0, 8),
    m=st.integers(1, 12),
    ridge=st.sampled_from([0.01, 0.1, 1.0]),
)
def test_picks_equal_the_textbook(
    seed: int, n: int, d: int, k: int, rank: int, n_labeled: int, m: int, ridge: float
) -> None:
    rng = np.random.default_rng(seed)
    rank = min(rank, k)
    pool, labeled, references = (outputs(rng, size, d, k) for size in (n, n_labeled, m))
    kernel = FisherKernel("classification", rank=rank)
    posterior = Posterior(kernel, ridge, kernel.points(labeled))
    design = AOptimalDesign(posterior, kernel.points(pool), kernel.points(references))
    steps = min(n, 8)
    picked, gains = design.pick(steps)
    expected, all_gains = reference.bait(
        dense(pool, rank), dense(references, rank), dense(labeled, rank), steps, ridge
    )
    for pick, best, gain, textbook_gain in zip(picked, expected, gains, all_gains, strict=True):
        assert gain == pytest.approx(textbook_gain[best], rel=1e-6, abs=1e-9)
        if pick != best:  # only a tie may be broken another way, and then the paths part
            assert textbook_gain[pick] == pytest.approx(textbook_gain[best], rel=1e-9, abs=1e-12)
            break


def test_weights_enter_by_their_square() -> None:
    rng = np.random.default_rng(0)
    pool, references = outputs(rng, 20, 4, 3), outputs(rng, 10, 4, 3)
    weights = torch.from_numpy(rng.random(10))
    kernel = FisherKernel("classification", side=None)
    posterior = Posterior(kernel, 0.1)
    design = AOptimalDesign(posterior, kernel.points(pool), kernel.points(references), weights)
    scaled = ModelOutput(references.logits, references.embedding * weights[:, None])
    same = AOptimalDesign(posterior, kernel.points(pool), kernel.points(scaled))
    (picked, gains), (expected, expected_gains) = design.pick(10), same.pick(10)
    assert picked == expected
    assert gains == pytest.approx(expected_gains)


@pytest.mark.parametrize("preselected", [[], [3, 1]])
def test_gain_is_the_variance_that_goes(preselected: list[int]) -> None:
    rng = np.random.default_rng(1)
    pool, references = outputs(rng, 30, 6, 2), outputs(rng, 12, 6, 2)
    kernel = RadialKernel(gamma=2.0)
    x, r = kernel.points(pool), kernel.points(references)

    def variance_left(picked: list[int]) -> float:
        posterior = Posterior(kernel, 0.1, x[picked] if picked else None)
        return float(posterior.variance(r, posterior.whiten(r)).sum())

    picked, gains = AOptimalDesign(Posterior(kernel, 0.1), x, r).pick(5, preselected)
    assert picked[: len(preselected)] == preselected
    for step, gain in enumerate(gains):
        went = variance_left(picked[:step]) - variance_left(picked[: step + 1])
        assert gain == pytest.approx(went, rel=1e-8)


def test_float32_gains_stay_near_float64_over_many_picks() -> None:
    rng = np.random.default_rng(2)
    output = outputs(rng, 300, 20, 5)
    kernel = RadialKernel()
    x = kernel.points(output)
    x32 = kernel.points(ModelOutput(output.logits.float(), output.embedding.float()))
    picked, gains = AOptimalDesign(Posterior(kernel, 0.1), x, x).pick(150)
    again, gains32 = AOptimalDesign(Posterior(kernel, 0.1), x32, x32).pick(0, picked)
    assert again == picked
    assert gains32 == pytest.approx(gains, rel=2e-3)


@pytest.mark.parametrize("rank", [1, 2])
def test_a_pool_that_is_its_own_reference_is_multiplied_by_half(
    rank: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(a_optimal, "BLOCK_SIZE", 10_000)  # several blocks
    rng = np.random.default_rng(3)
    kernel = FisherKernel("classification", rank=rank)
    pool, labeled = outputs(rng, 200, 40, 3), outputs(rng, 30, 40, 3)
    x, copy = kernel.points(pool), kernel.points(pool)
    posterior = Posterior(kernel, 0.1, kernel.points(labeled))
    weights = torch.from_numpy(rng.random(200))
    with FlopCounterMode(display=False) as half:
        design = AOptimalDesign(posterior, x, x, weights)
    with FlopCounterMode(display=False) as whole:
        same = AOptimalDesign(posterior, x, copy, weights)
    torch.testing.assert_close(design.scores(), same.scores())
    assert design.pick(20)[0] == same.pick(20)[0]
    assert half.get_total_flops() < 0.7 * whole.get_total_flops()


def clusters(rng: np.random.Generator, n: int) -> ModelOutput:
    centers = 3 * rng.normal(size=(40, 16))
    rows = centers[rng.integers(40, size=n)] + rng.normal(size=(n, 16))
    return ModelOutput(torch.from_numpy(rng.normal(size=(n, 3))), torch.from_numpy(rows))


def test_columns_are_computed_of_the_picks_and_few_others(monkeypatch: pytest.MonkeyPatch) -> None:
    # The best of one step are of a few clusters, of which most are passed over later.
    computed, compute = [0], AOptimalDesign._compute_columns

    def counted(design: AOptimalDesign, indices: torch.Tensor) -> object:
        computed[0] += len(indices)
        return compute(design, indices)

    monkeypatch.setattr(AOptimalDesign, "_compute_columns", counted)
    kernel = RadialKernel()
    x = kernel.points(clusters(np.random.default_rng(4), 1000))
    AOptimalDesign(Posterior(kernel, 0.1), x, x).pick(100)
    assert computed[0] <= 120


def test_a_design_is_freed_at_once() -> None:
    # Not by the garbage collector, which comes after several selections of half a gigabyte each.
    kernel = RadialKernel()
    x = kernel.points(clusters(np.random.default_rng(6), 50))
    design = AOptimalDesign(Posterior(kernel, 0.1), x, x)
    gc.disable()
    try:
        design.pick(5)
        alive = weakref.ref(design)
        del design
        assert alive() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("preselected", [[], [7, 3]])
def test_picks_do_not_depend_on_what_was_looked_ahead(
    rank: int, preselected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(5)
    kernel = FisherKernel("classification", rank=rank)
    x, costs = kernel.points(clusters(rng, 300)), torch.from_numpy(rng.uniform(1, 3, size=300))
    pick = [AOptimalDesign(Posterior(kernel, 0.1), x, x, None, costs).pick(40, preselected)]
    monkeypatch.setattr(a_optimal, "LOOKED_AT", 3)
    monkeypatch.setattr(a_optimal, "WORTH_A_PASS", 1)
    pick += [AOptimalDesign(Posterior(kernel, 0.1), x, x, None, costs).pick(40, preselected)]
    assert pick[0][0] == pick[1][0]
    assert pick[0][1] == pytest.approx(pick[1][1])
