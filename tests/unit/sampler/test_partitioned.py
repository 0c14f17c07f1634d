"""Selection in parts: what it promises whatever the parts, and how close it comes to the whole."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from active_learn import (
    BudgetError,
    DataError,
    LinearHead,
    ParameterError,
    problem,
    rank_partitioned,
)
from active_learn.partitioned import (
    Partitioning,
    PartSelection,
    check_partitioned,
    decide,
    select_part,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from pool_parts import HEAD, LABELED, POOL, SUPPORTED, backwards, clustered, make, same
from torch import nn


@pytest.fixture(autouse=True)
def _shallow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Select 40 of each part, not 200: quicker, and harder."""
    monkeypatch.setattr(problem, "N_GREEDY", 40)


# One partition is the whole pool.


@pytest.mark.parametrize("labeled", [None, LABELED], ids=["cold", "labeled"])
@pytest.mark.parametrize("strategy", SUPPORTED)
def test_one_part_gives_the_ranking_of_the_whole(strategy: str, labeled: Any) -> None:
    sampler = make(strategy, labeled)
    for n in (7, 30, 300):
        same(rank_partitioned(sampler, POOL, n, partitions=1), sampler.rank(POOL, n))


@pytest.mark.parametrize("strategy", ["aopt", "bait"])
def test_one_part_of_two_stages_gives_the_ranking_of_the_whole(strategy: str) -> None:
    pool = clustered(20_100, 1)
    sampler = make(strategy, references=300)
    same(rank_partitioned(sampler, pool, 250, partitions=1), sampler.rank(pool, 250))


@settings(max_examples=60, derandomize=True)
@given(
    seed=st.integers(0, 10_000),
    size=st.integers(1, 40),
    d=st.integers(1, 4),
    partitions=st.integers(1, 9),
    budget=st.integers(1, 12),
    strategy=st.sampled_from(SUPPORTED),
    cold=st.booleans(),
    copies=st.integers(1, 2),
)
def test_any_pool_in_any_parts(
    seed: int, size: int, d: int, partitions: int, budget: int, strategy: str, cold: bool,
    copies: int,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    pool = np.tile(rng.normal(size=(size, d)).astype(np.float32), (copies, 1))
    n = int(rng.integers(1, len(pool) + 1))
    sampler = make(
        strategy,
        None if cold else rng.normal(size=(3, d)),
        model=LinearHead(rng.normal(size=(3, d))),
        budget=budget,
        random_state=seed,
    )
    found = rank_partitioned(sampler, pool, n, partitions=partitions)
    assert len(set(found.indices.tolist())) == n
    assert found.indices.min() >= 0
    assert found.indices.max() < len(pool)
    for values in (found.scores, found.uncertainty, found.novelty):
        assert values.shape == (n,)
        assert np.isfinite(values).all()
    # Parts of 40 and fewer select all that they have, so that the whole pool is decided on; the
    # picks of one part may still be better than the greedy ones.
    local = sampler.rank(pool, n)
    if strategy in ("margin", "entropy", "least_confidence"):
        same(found, local)
    elif strategy != "kcenter" and n >= budget:
        assert found.scores[:budget].sum() >= 0.9999 * local.scores[:budget].sum()
    same(rank_partitioned(sampler, pool, n, partitions=partitions, map=backwards), found)


# The parts.


def test_each_candidate_is_in_one_part() -> None:
    plan = Partitioning.draw(make("auto"), POOL.__getitem__, len(POOL), 10, 7)
    assert np.array_equal(np.sort(np.concatenate(plan.parts)), np.arange(len(POOL)))
    assert {len(part) for part in plan.parts} == {len(POOL) // 7, -(-len(POOL) // 7)}
    for part in plan.parts:
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()


def test_only_what_is_drawn_is_read() -> None:
    asked: list[np.ndarray] = []

    def read(rows: np.ndarray) -> np.ndarray:
        assert (np.diff(rows) > 0).all()
        asked.append(rows)
        return POOL[rows]

    sampler = make("bait", references=50)
    expected = sampler.rank(POOL, 40)
    plan = Partitioning.draw(sampler, read, len(POOL), 40, 1)
    # All rows up to 4,096 for the norms, among which the references are.
    assert [len(rows) for rows in asked] == [800]
    asked.clear()
    Partitioning.draw(make("aopt", references=50), read, len(POOL), 40, 4)
    assert [len(rows) for rows in asked] == [50]
    asked.clear()
    Partitioning.draw(make("margin"), read, len(POOL), 40, 4)
    assert not asked
    part = plan.parts[0]
    selection = select_part(sampler, POOL[part], plan.summary, plan.n)
    same(decide(sampler, plan, [selection]), expected)


def test_the_deal_depends_on_the_seed_alone() -> None:
    def parts(seed: int) -> list[np.ndarray]:
        sampler = make("aopt", random_state=seed)
        plan = Partitioning.draw(sampler, POOL.__getitem__, len(POOL), 10, 3)
        return list(plan.parts)

    assert all(np.array_equal(a, b) for a, b in zip(parts(5), parts(5), strict=True))
    assert not np.array_equal(parts(5)[0], parts(6)[0])


def test_a_ranking_longer_than_a_part() -> None:
    for n in (50, 500, len(POOL)):
        found = rank_partitioned(make(), POOL, n, partitions=8)
        assert len(set(found.indices.tolist())) == n


def test_more_parts_than_candidates() -> None:
    sampler = make(budget=3)
    few = POOL[:5]
    assert len(Partitioning.draw(sampler, few.__getitem__, 5, 5, 9).parts) == 5
    same(rank_partitioned(sampler, few, partitions=9), sampler.rank(few))


def test_the_first_are_the_same_for_every_length() -> None:
    for strategy in ("auto", "aopt", "logdet", "kcenter", "margin"):
        sampler = make(strategy, None)
        longest = rank_partitioned(sampler, POOL, 40, partitions=4)
        for n in (1, 10, 35):
            shorter = rank_partitioned(sampler, POOL, n, partitions=4)
            assert np.array_equal(shorter.indices, longest.indices[:n])


# Where and when the parts run.


class Encoder(nn.Module):
    """A model that computes its embeddings."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.body, self.head = nn.Linear(16, 12), nn.Linear(12, 4)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.body(x)))


def two_outputs(batch: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    embedding = np.stack(batch)
    return embedding @ np.linspace(-1, 1, 48).reshape(16, 3), embedding


def onnx_model() -> onnx.ModelProto:
    weight = np.linspace(-1, 1, 48, dtype=np.float32).reshape(16, 3)
    nodes = [helper.make_node("Relu", ["x"], ["h"]), helper.make_node("MatMul", ["h", "W"], ["y"])]
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])
        for name, size in (("x", 16), ("y", 3))
    )
    graph = helper.make_graph(nodes, "model", [x], [y], [numpy_helper.from_array(weight, "W")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("strategy", ["auto", "aopt", "logdet", "margin"])
@pytest.mark.parametrize("labeled", [None, LABELED], ids=["cold", "labeled"])
def test_the_ranking_does_not_depend_on_the_workers(strategy: str, labeled: Any) -> None:
    sampler = make(strategy, labeled)
    expected = rank_partitioned(sampler, POOL, 60, partitions=5)
    same(rank_partitioned(sampler, POOL, 60, partitions=5, map=backwards), expected)
    for workers in (2, 3):
        with ThreadPoolExecutor(workers) as executor:
            found = rank_partitioned(sampler, POOL, 60, partitions=5, map=executor.map)
        assert np.array_equal(found.indices, expected.indices)


@pytest.mark.parametrize(
    ("model", "pool"),
    [
        pytest.param({"model": HEAD}, POOL, id="linear head"),
        pytest.param({"model": Encoder()}, torch.from_numpy(POOL), id="module"),
        pytest.param({"model": Encoder(), "layer": "head"}, list(POOL), id="layer of a module"),
        pytest.param({"model": onnx_model()}, POOL, id="onnx"),
        pytest.param({"model": two_outputs}, list(POOL), id="callable"),
    ],
)
def test_a_model_runs_in_threads_and_behind_a_pickle(model: dict[str, Any], pool: Any) -> None:
    sampler = make("auto", None, **model)
    expected = rank_partitioned(sampler, pool, 40, partitions=1)
    same(expected, sampler.rank(pool, 40))

    def pickled(work: Any, *columns: Iterable[Any]) -> Iterable[PartSelection]:
        for row in zip(*columns, strict=True):
            task = pickle.dumps((work, row))
            there, arguments = pickle.loads(task)
            yield pickle.loads(pickle.dumps(there(*arguments)))

    parts = rank_partitioned(sampler, pool, 40, partitions=4)
    same(rank_partitioned(sampler, pool, 40, partitions=4, map=pickled), parts)
    with ThreadPoolExecutor(3) as executor:
        same(rank_partitioned(sampler, pool, 40, partitions=4, map=executor.map), parts)


def test_parts_in_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problem, "N_GREEDY", 200)  # as in the processes
    np.save(tmp_path / "pool.npy", POOL.astype(np.float16))
    mapped = np.load(tmp_path / "pool.npy", mmap_mode="r")
    sampler = make("auto")
    expected = rank_partitioned(sampler, POOL.astype(np.float16).astype(np.float32), 40,
                                partitions=3)  # fmt: skip
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as executor:
        found = rank_partitioned(sampler, mapped, 40, partitions=3, map=executor.map)
    same(found, expected)


def test_a_pickled_part_carries_its_rows_only() -> None:
    sizes = []

    def measured(work: Any, *columns: Iterable[Any]) -> Iterable[PartSelection]:
        rows = list(zip(*columns, strict=True))
        sizes.extend(len(pickle.dumps(row)) for row in rows)
        return [work(*row) for row in rows]

    rank_partitioned(make("margin"), POOL, 10, partitions=10, map=measured)
    assert max(sizes) < 1.5 * POOL.nbytes / 10 + 8 * len(POOL) / 10


# What is refused.


@pytest.mark.parametrize("strategy", ["random", "badge", "vessal", "typiclust", "medoids"])
def test_strategies_that_have_to_see_the_whole(strategy: str) -> None:
    sampler = make(strategy)
    with pytest.raises(
        ParameterError, match=r"no partitioned form; use 'aopt', .*'margin'"
    ) as seen:
        check_partitioned(sampler)
    assert all(repr(name) in str(seen.value) for name in SUPPORTED)
    assert "\n" not in str(seen.value)
    with pytest.raises(ParameterError, match="no partitioned form"):
        rank_partitioned(sampler, POOL, 5, partitions=2)
    with pytest.raises(ParameterError, match="no partitioned form"):
        Partitioning.draw(sampler, pytest.fail, len(POOL), 5, 2)


def test_arguments_that_cannot_be_used() -> None:
    sampler = make()
    for partitions in (0, -1, 1.5, True):
        with pytest.raises(ParameterError, match="partitions is"):
            rank_partitioned(sampler, POOL, 5, partitions=partitions)  # type: ignore[arg-type]
    with pytest.raises(BudgetError, match="n is 801, the pool has 800"):
        rank_partitioned(sampler, POOL, 801, partitions=2)
    with pytest.raises(ParameterError, match="n is 0"):
        rank_partitioned(sampler, POOL, 0, partitions=2)
    with pytest.raises(DataError, match="the pool is empty"):
        rank_partitioned(sampler, POOL[:0], partitions=2)
    plan = Partitioning.draw(sampler, POOL.__getitem__, len(POOL), 5, 2)
    with pytest.raises(ParameterError, match="0 selections of 2 parts"):
        decide(sampler, plan, [])
    with pytest.raises(DataError, match=r"reading 800 candidates gave 3"):
        Partitioning.draw(sampler, lambda rows: POOL[:3], len(POOL), 5, 2)


@pytest.mark.parametrize("strategy", ["aopt", "logdet", "kcenter", "margin"])
@pytest.mark.parametrize("row", [0, 555, 799])
def test_nan_is_named_by_its_place_in_the_whole_pool(strategy: str, row: int) -> None:
    pool = POOL.copy()
    pool[row, 2] = np.nan
    sampler = make(strategy, **({"references": 20} if strategy == "aopt" else {}))
    for candidates in (pool, list(pool)):
        with pytest.raises(DataError, match=f"candidate {row} "):
            rank_partitioned(sampler, candidates, 5, partitions=4)
