"""Pools that are not held as a whole: two stages, memory-mapped half-precision files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from active_learn import ActiveSampler, DataError, LinearHead
from active_learn.strategies import two_stage
from torch.utils.flop_counter import FlopCounterMode

RNG = np.random.default_rng(0)
CENTERS = RNG.normal(size=(40, 16))
POOL = (CENTERS[RNG.integers(40, size=3000)] + 0.7 * RNG.normal(size=(3000, 16))).astype(np.float32)
HEAD = LinearHead(RNG.normal(size=(5, 16)))


@pytest.fixture
def two_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two_stage, "WHOLE_POOL", 1000)
    monkeypatch.setattr(two_stage, "SAMPLE", 600)


def sampler(**arguments: object) -> ActiveSampler:
    defaults = {
        "budget": 30,
        "random_state": 0,
        "labeled_data": POOL[:100],
        "seed_fisher": True,
        "strategy": "aopt",
    }
    return ActiveSampler("classification", HEAD, **{**defaults, **arguments})


def worth(strategy: str, picks: np.ndarray) -> float:
    """Return what some picks gain on the whole pool."""
    problem = sampler(strategy=strategy).problem
    context = problem.context(problem.open_pool(POOL), len(picks))
    found = problem.strategy.rank_pool(replace(context, preselected=tuple(picks.tolist())))
    assert found.indices.tolist() == picks.tolist()
    return float(found.scores.sum())


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("strategy", "least"), [("aopt", 0.85), ("bait", 0.9)])
def test_a_sample_finds_most_of_what_the_whole_pool_finds(
    strategy: str, least: float, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = worth(strategy, sampler(strategy=strategy, references=3000).rank(POOL, 30).indices)
    with monkeypatch.context() as patch:
        patch.setattr(two_stage, "WHOLE_POOL", 1000)
        patch.setattr(two_stage, "SAMPLE", 1000)
        picks = sampler(strategy=strategy, random_state=seed).rank(POOL, 30).indices
    # 30 at random are worth 0.4 (aopt) and 0.3 of it.
    assert least * exact < worth(strategy, picks) <= 1.001 * exact


@pytest.mark.usefixtures("two_stages")
@pytest.mark.parametrize("strategy", ["aopt", "bait", "coverage"])
def test_the_work_does_not_grow_with_a_large_pool(strategy: str) -> None:
    flops = []
    for copies in (1, 5):
        with FlopCounterMode(display=False) as counter:
            sampler(strategy=strategy).select(np.tile(POOL, (copies, 1)))
        flops.append(counter.get_total_flops())
    assert 0.8 * flops[0] < flops[1] < 1.25 * flops[0]


@pytest.mark.usefixtures("two_stages")
@pytest.mark.parametrize("labeled", [None, POOL[:100]], ids=["cold", "labeled"])
def test_two_stages_rank_everything_and_nest(labeled: np.ndarray | None) -> None:
    one = sampler(strategy="auto", labeled_data=labeled)
    whole = one.rank(POOL)
    assert sorted(whole.indices.tolist()) == list(range(len(POOL)))
    assert np.isfinite(whole.scores).all()
    for n in (10, 300, 1500):
        assert np.array_equal(one.rank(POOL, n).indices, whole.indices[:n])


@pytest.mark.usefixtures("two_stages")
@pytest.mark.parametrize("strategy", ["aopt", "bait", "logdet", "margin", "vessal"])
def test_memory_mapped_halves_give_the_picks_of_arrays(tmp_path: Path, strategy: str) -> None:
    half = POOL.astype(np.float16)
    np.save(tmp_path / "pool.npy", half)
    mapped = np.load(tmp_path / "pool.npy", mmap_mode="r")
    expected = sampler(strategy=strategy).select(half.astype(np.float32), return_indices=True)[1]
    chosen, indices = sampler(strategy=strategy).select(mapped, return_indices=True)
    assert np.array_equal(indices, expected)
    assert chosen.dtype == np.float16


@pytest.mark.usefixtures("two_stages")
@pytest.mark.parametrize(
    ("strategy", "parameters"),
    [("aopt", {}), ("logdet", {}), ("margin", {}), ("vessal", {"thinned": True})],
)
def test_nan_in_a_late_block_is_refused(strategy: str, parameters: dict[str, bool]) -> None:
    pool = np.tile(POOL, (4, 1))
    pool[9_999, 3] = np.nan
    with pytest.raises(DataError, match="candidate 9999"):
        sampler(strategy=strategy, **parameters).select(pool)


@pytest.mark.parametrize("strategy", ["aopt", "bait", "logdet", "margin", "vessal"])
def test_the_pool_is_never_written_to(strategy: str) -> None:
    pool = POOL.copy()
    pool.flags.writeable = False
    sampler(strategy=strategy, budget=5).select(pool)
    assert np.array_equal(pool, POOL)
