"""What a ranking in parts loses against one of the whole pool."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from active_learn import (
    LinearHead,
    problem,
    rank_partitioned,
)
from active_learn.models import ModelOutput
from active_learn.partitioned import (
    Partitioning,
    decide,
    select_part,
)
from active_learn.posterior.fisher import uncertainty
from active_learn.posterior.kernels import FisherKernel, RadialKernel
from active_learn.strategies import two_stage
from pool_parts import HEAD, POOL, RNG, clustered, make


@pytest.fixture(autouse=True)
def _shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Select 40 of each part, not 200: quicker, and harder."""
    monkeypatch.setattr(problem, "N_GREEDY", 40)


# How close it comes.


def log_det(head: LinearHead, chosen: np.ndarray, labeled: np.ndarray, pool: np.ndarray) -> float:
    """``log det(I + G_SS / λ)`` given the labeled ones, dense in float64."""
    scale = float(np.sqrt((pool.astype(np.float64) ** 2).sum(axis=1).mean()))
    kernel = FisherKernel("classification", "fisher", 1, scale)

    def value(rows: np.ndarray) -> float:
        points = kernel.points(head(rows)).double()
        gram = kernel.gram(points, points).numpy()
        return float(np.linalg.slogdet(np.eye(len(gram)) + gram / 0.1)[1])

    return value(np.concatenate([labeled, chosen])) - value(labeled)


def variance_left(
    head: LinearHead, chosen: np.ndarray, labeled: np.ndarray, pool: np.ndarray
) -> float:
    """``Σ_r w_r² Var(r)`` over the pool, dense in float64."""
    kernel = RadialKernel(4.0)

    def points(rows: np.ndarray) -> Any:
        h = torch.from_numpy(rows).double()
        return kernel.points(ModelOutput(h[:, :0], h))

    known, all_ = points(np.concatenate([labeled, chosen])), points(pool)
    gram = kernel.gram(known, known).numpy() + 0.1 * np.eye(len(known))
    cross = kernel.gram(known, all_).numpy()
    left = 1 - np.einsum("sr,sr->r", cross, np.linalg.solve(gram, cross))
    weights = uncertainty(head(pool).logits, "classification").double().numpy()
    return float((weights**2 * left).sum())


@pytest.mark.parametrize("partitions", [2, 4, 8])
@pytest.mark.parametrize(
    "pool",
    [
        pytest.param(RNG.normal(size=(1200, 16)).astype(np.float32), id="uniform"),
        pytest.param(clustered(1200, 2), id="clustered"),
        pytest.param(clustered(1200, 3, spread=0.1), id="tight"),
        pytest.param(np.repeat(clustered(300, 4), 4, axis=0), id="duplicates"),
        pytest.param(
            (clustered(1200, 5) * np.geomspace(0.2, 5, 1200)[:, None]).astype(np.float32),
            id="of all lengths",
        ),
    ],
)
def test_the_objective_is_within_two_percent_of_the_whole(
    pool: np.ndarray, partitions: int
) -> None:
    labeled = pool[::40]
    for strategy, value in (("logdet", log_det), ("aopt", variance_left)):
        sampler = make(strategy, labeled, budget=30)
        whole = sampler.rank(pool, 30).indices
        parts = rank_partitioned(sampler, pool, 30, partitions=partitions).indices
        best, found = (value(HEAD, pool[rows], labeled, pool) for rows in (whole, parts))
        if strategy == "logdet":
            assert found >= 0.98 * best
        else:
            before = value(HEAD, pool[:0], labeled, pool)
            assert before - found >= 0.98 * (before - best)


@pytest.mark.parametrize("strategy", ["auto", "aopt", "bait", "logdet"])
def test_shallow_proposals_are_within_two_percent_too(
    strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of each part as many as are chosen, as in the papers."""
    monkeypatch.setattr(problem, "N_GREEDY", 1)
    sampler = make(strategy, budget=40)
    best = sampler.rank(POOL, 40).scores.sum()
    for partitions in (2, 4, 8):
        found = rank_partitioned(sampler, POOL, 40, partitions=partitions)
        assert found.scores.sum() >= 0.98 * best


def test_two_stages_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two_stage, "WHOLE_POOL", 600)
    monkeypatch.setattr(two_stage, "SAMPLE", 300)
    for strategy in ("aopt", "bait"):
        sampler = make(strategy)
        best = sampler.rank(POOL, 30).scores.sum()
        for partitions in (1, 2, 4, 8):
            found = rank_partitioned(sampler, POOL, 300, partitions=partitions)
            assert found.scores[:30].sum() >= 0.98 * best
            assert len(set(found.indices.tolist())) == 300


@pytest.mark.parametrize("strategy", ["aopt", "bait", "coverage"])
def test_parts_of_a_large_pool_select_from_the_sample_of_the_whole(
    strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(two_stage, "WHOLE_POOL", 2000)
    monkeypatch.setattr(two_stage, "SAMPLE", 1000)
    pool = np.random.default_rng(0).normal(size=(6000, 48)).astype(np.float32)
    labeled = np.random.default_rng(1).normal(size=(20, 48)).astype(np.float32)
    sampler = make(
        strategy, labeled, model=LinearHead(np.random.default_rng(2).normal(size=(3, 48)))
    )
    best = sampler.rank(pool, 30).scores.sum()
    plan = Partitioning.draw(sampler, pool.__getitem__, len(pool), 30, 4)

    def share(positions_known: bool) -> float:
        selections = [
            select_part(
                sampler, pool[part], plan.summary, plan.n, part if positions_known else None
            )
            for part in plan.parts
        ]
        return float(decide(sampler, plan, selections).scores[:30].sum() / best)

    assert share(True) >= 0.99
    assert share(False) < share(True)


def test_what_is_labeled_is_not_chosen_again() -> None:
    labeled = POOL[:60]
    twins = np.concatenate([POOL, labeled])
    for strategy in ("aopt", "logdet", "kcenter"):
        plain = rank_partitioned(make(strategy, None), twins, 60, partitions=4).indices
        known = rank_partitioned(make(strategy, labeled), twins, 60, partitions=4).indices
        again = [np.isin(found % 800, np.arange(60)).sum() for found in (plain, known)]
        assert again[1] == 0 or again[1] < again[0]


def test_a_part_that_alone_does_better_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    for strategy in ("aopt", "logdet", "bait"):
        sampler = make(strategy)
        plan = Partitioning.draw(sampler, POOL.__getitem__, len(POOL), 40, 2)
        selections = [select_part(sampler, POOL[part], plan.summary, plan.n) for part in plan.parts]
        usual = decide(sampler, plan, selections)
        boasting = [selections[0], replace(selections[1], scores=10 * selections[1].scores)]
        found = decide(sampler, plan, boasting)
        assert np.array_equal(found.indices[:30], plan.parts[1][selections[1].indices[:30]])
        assert len(set(found.indices.tolist())) == 40
        # Its scores are what its picks are worth, whatever the part said.
        assert 0.5 * usual.scores.sum() < found.scores.sum() < 1.01 * usual.scores.sum()
