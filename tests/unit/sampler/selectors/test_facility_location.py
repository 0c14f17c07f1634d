"""Lazy greedy facility location against the plain greedy form, and what coverage means."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from active_learn import ActiveSampler, LinearHead
from active_learn.posterior.kernels import Points, RadialKernel
from active_learn.selectors.facility_location import FacilityLocation, covered_by
from active_learn.strategies import two_stage
from hypothesis import given
from hypothesis import strategies as st

KERNEL = RadialKernel(4.0)


def unit(rng: np.random.Generator, n: int, d: int = 4) -> Points:
    h = rng.normal(size=(n, d))
    return Points(torch.from_numpy(h / np.linalg.norm(h, axis=1, keepdims=True)))


def plain_greedy(
    similarities: np.ndarray, weights: np.ndarray, covered: np.ndarray, n: int
) -> list[int]:
    picked: list[int] = []
    for _ in range(n):
        gains = (np.maximum(similarities - covered, 0) * weights).sum(axis=1)
        gains[picked] = -1
        picked.append(int(np.argmax(gains)))
        covered = np.maximum(covered, similarities[picked[-1]])
    return picked


@given(
    seed=st.integers(0, 10_000),
    n_candidates=st.integers(1, 60),
    n_references=st.integers(1, 40),
    n_labeled=st.integers(0, 5),
)
def test_lazy_picks_are_those_of_plain_greedy(
    seed: int, n_candidates: int, n_references: int, n_labeled: int
) -> None:
    rng = np.random.default_rng(seed)
    candidates, references = unit(rng, n_candidates), unit(rng, n_references)
    labeled = unit(rng, n_labeled) if n_labeled else None
    weights = torch.from_numpy(rng.uniform(0.1, 1, n_references))
    covered = covered_by(KERNEL, labeled, references)
    n = min(10, n_candidates)
    selector = FacilityLocation(KERNEL, candidates, references, weights, covered)
    picked, gains = selector.pick(n)
    similarities = KERNEL.gram(candidates, references).numpy()
    expected = plain_greedy(similarities, weights.numpy(), covered.numpy(), n)
    left = np.maximum(similarities - covered.numpy(), 0) * weights.numpy()
    if np.unique(left.sum(axis=1).round(9)).size == n_candidates and gains[-1] > 1e-9:
        assert picked == expected
    assert all(a >= b - 1e-12 for a, b in pairwise(gains))  # submodular
    total = (torch.maximum(selector.covered - covered, covered.new_zeros(())) * weights).sum()
    assert sum(gains) == pytest.approx(float(total))


def test_a_reference_that_a_label_covers_earns_nothing() -> None:
    rng = np.random.default_rng(0)
    points = unit(rng, 8)
    covered = covered_by(KERNEL, points, points)
    assert covered.numpy() == pytest.approx(np.ones(8))
    selector = FacilityLocation(KERNEL, points, points, torch.ones(8).double(), covered)
    assert selector.scores().numpy() == pytest.approx(np.zeros(8), abs=1e-12)


def test_each_cluster_is_covered_before_any_is_covered_twice() -> None:
    """Without labels and without a model: what annotators see first shows all kinds of tasks."""
    rng = np.random.default_rng(1)
    centers = np.eye(6)
    kinds = rng.choice(6, size=300, p=[0.6, 0.2, 0.1, 0.05, 0.03, 0.02])
    pool = centers[kinds] + 0.05 * rng.normal(size=(300, 6))
    model = LinearHead.untrained(1, 6)
    sampler = ActiveSampler("regression", model, budget=6, strategy="coverage", gamma=4.0)
    _, rows = sampler.select(pool, return_indices=True)
    assert sorted(kinds[rows]) == list(range(6))
    # Labeled data of three kinds: the other three come first.
    labeled = centers[[0, 1, 2]]
    sampler = ActiveSampler(
        "regression",
        model,
        budget=3,
        strategy="coverage",
        gamma=4.0,
        labeled_data=labeled,
        seed_fisher=True,
    )
    _, rows = sampler.select(pool, return_indices=True)
    assert sorted(kinds[rows]) == [3, 4, 5]


def test_of_a_large_pool_a_sample_enters_and_the_rest_follows_by_what_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(two_stage, "WHOLE_POOL", 100)
    monkeypatch.setattr(two_stage, "SAMPLE", 60)
    pool = np.random.default_rng(2).normal(size=(300, 5))
    model = LinearHead.untrained(3, 5)
    sampler = ActiveSampler("classification", model, budget=10, strategy="coverage")
    ranking = sampler.rank(pool)
    assert sorted(ranking.indices.tolist()) == list(range(300))
    assert np.all(np.diff(ranking.scores[:10]) <= 1e-6)
    assert np.all(np.diff(ranking.scores[10:]) <= 1e-6)
