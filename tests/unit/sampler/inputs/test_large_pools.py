"""Pools that are not held as a whole: two stages, memory-mapped half-precision files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from active_learn import ActiveSampler, DataError, LinearHead
from active_learn.strategies import two_stage

RNG = np.random.default_rng(0)
CENTERS = RNG.normal(size=(40, 16))
POOL = (CENTERS[RNG.integers(40, size=3000)] + 0.7 * RNG.normal(size=(3000, 16))).astype(np.float32)
HEAD = LinearHead(RNG.normal(size=(5, 16)))


@pytest.fixture
def two_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(two_stage, "SHORTLIST_ABOVE", 1000)
    monkeypatch.setattr(two_stage, "SHORTLIST", 600)


def sampler(**arguments: object) -> ActiveSampler:
    defaults = {
        "budget": 30,
        "random_state": 0,
        "labeled_data": POOL[:100],
        "seed_fisher": True,
        "strategy": "aopt",
    }
    return ActiveSampler("classification", HEAD, **{**defaults, **arguments})


@pytest.mark.parametrize("strategy", ["aopt", "bait"])
def test_two_stages_find_most_of_what_one_finds(
    strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = sampler(strategy=strategy).rank(POOL, 30).scores.sum()
    monkeypatch.setattr(two_stage, "SHORTLIST_ABOVE", 1000)
    monkeypatch.setattr(two_stage, "SHORTLIST", 600)
    two = sampler(strategy=strategy).rank(POOL, 30).scores.sum()
    assert 0.9 * one < two < 1.05 * one


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
