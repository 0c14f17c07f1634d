"""Conditioning on many labels through landmarks, against all labels and the landmarks alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from active_learn import ActiveSampler, LinearHead
from active_learn.models import ModelOutput
from active_learn.posterior import landmarks
from active_learn.posterior.kernels import FisherKernel, Kernel, Points, RadialKernel
from active_learn.posterior.landmarks import condition_on_labels
from active_learn.posterior.posterior import Posterior
from torch.utils.flop_counter import FlopCounterMode

RADIAL = RadialKernel(1.0)
KERNELS = [RADIAL, FisherKernel("classification"), FisherKernel("classification", rank=2)]


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landmarks, "EXACT", 40)
    monkeypatch.setattr(landmarks, "LANDMARKS", 20)


def points(kernel: Kernel, n: int, seed: int = 0, noise: torch.Tensor | None = None) -> Points:
    rng = np.random.default_rng(seed)
    h, logits = (torch.from_numpy(rng.normal(size=(n, size))) for size in (4, 3))
    made = kernel.points(ModelOutput(logits, h))
    return Points(made.h, made.a, noise)


def repeated(x: Points, times: int) -> Points:
    parts = (x.h, x.a, x.noise)
    return Points(*(None if p is None else p.repeat_interleave(times, 0) for p in parts))  # type: ignore[arg-type]


def covariance(posterior: Posterior, x: Points) -> np.ndarray:
    z = posterior.whiten(x)
    return posterior.covariance(x, x, z, z).numpy()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("n", [1, 7, 20])
def test_few_labels_are_conditioned_on_exactly(kernel: Kernel, n: int) -> None:
    x, labeled = points(kernel, 9, 1), points(kernel, n)
    found = condition_on_labels(kernel, 0.1, labeled, 2000)
    assert np.array_equal(covariance(found, x), covariance(Posterior(kernel, 0.1, labeled), x))


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("kernel", KERNELS)
def test_it_is_exact_where_the_landmarks_explain_all_labels(kernel: Kernel, noisy: bool) -> None:
    different = 20 // points(kernel, 1).rank
    labeled = repeated(points(kernel, different), 5)
    if noisy:
        noise = torch.from_numpy(np.random.default_rng(3).uniform(0.5, 4, len(labeled)))
        labeled = Points(labeled.h, labeled.a, noise)
    x = points(kernel, 9, 1)
    found = condition_on_labels(kernel, 0.1, labeled, 2000)
    assert found.size == 20
    exact = Posterior(kernel, 0.1, labeled)
    np.testing.assert_allclose(covariance(found, x), covariance(exact, x), rtol=1e-3, atol=2e-3)


def test_all_labels_count_and_none_counts_twice() -> None:
    kernel = RadialKernel(0.3)
    labeled, x = points(kernel, 200), points(kernel, 300, 1)
    rows = torch.linspace(0, 199, 20).round().long()

    def left(posterior: Posterior) -> torch.Tensor:
        return posterior.variance(x, posterior.whiten(x))[:, 0, 0]

    found = left(condition_on_labels(kernel, 0.1, labeled, 2000))
    exact, alone = (left(Posterior(kernel, 0.1, some)) for some in (labeled, labeled[rows]))
    assert found.mean() > exact.mean()
    assert (found <= alone + 1e-4).all()
    assert (found - exact).mean() < 0.5 * (alone - exact).mean()


def test_further_points_are_conditioned_on_as_after_exact_labels() -> None:
    labeled = repeated(points(RADIAL, 20), 5)
    more, x = points(RADIAL, 6, 2), points(RADIAL, 9, 1)
    found, exact = condition_on_labels(RADIAL, 0.1, labeled, 2000), Posterior(RADIAL, 0.1, labeled)
    for posterior in (found, exact):
        posterior.condition(more)
    np.testing.assert_allclose(covariance(found, x), covariance(exact, x), rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("strategy", ["aopt", "bait"])
def test_the_work_grows_little_with_the_labels(strategy: str) -> None:
    rng = np.random.default_rng(0)
    pool, labeled = (rng.normal(size=(n, 8)).astype(np.float32) for n in (600, 400))
    flops = []
    for n in (40, 400):
        sampler = ActiveSampler(
            "classification",
            LinearHead(rng.normal(size=(3, 8))),
            10,
            strategy=strategy,
            seed_fisher=True,
            labeled_data=labeled[:n],
            random_state=0,
        )
        with FlopCounterMode(display=False) as counter:
            sampler.select(pool)
        flops.append(counter.get_total_flops())
    assert flops[1] < 1.3 * flops[0]
