"""The cache of parts: what is added is found again, whatever happens in between; and pooling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from active_learn import RaggedArray
from active_learn_backend.learning.heads.pooling import pool_tasks, side_by_side
from active_learn_backend.learning.regions import parts as parts_module
from active_learn_backend.learning.regions.part_cache import PartCache
from active_learn_backend.learning.regions.parts import PartedVectors, TaskParts, in_memory

KEYS = [f"{n:032x}" for n in range(1, 9)]


def made(count: int, seed: int) -> TaskParts:
    draw = np.random.default_rng(seed)
    features = draw.normal(size=(count, 3)).astype(np.float16).astype(np.float32)
    return TaskParts(features, np.arange(2 * count).reshape(-1, 2))


TASKS = [made(count, seed) for seed, count in enumerate((2, 0, 5, 1, 3, 0, 4, 2))]


def check(cache: PartCache, wanted: list[int]) -> None:
    tasks = cache.tasks([KEYS[at] for at in wanted])
    assert tasks.sizes.tolist() == [len(TASKS[at]) for at in wanted]
    parts = tasks[np.arange(len(wanted))]
    for at, one in enumerate(wanted):
        rows = parts.rows[parts.offsets[at] : parts.offsets[at + 1]]
        np.testing.assert_array_equal(rows.astype(np.float32), TASKS[one].features)
        np.testing.assert_array_equal(parts.places_of(at), TASKS[one].places)


def test_what_was_added_is_read_by_others(tmp_path: Path) -> None:
    cache, other = PartCache(tmp_path / "c", 3), PartCache(tmp_path / "c", 3)
    cache.add(KEYS[:3], TASKS[:3])
    other.add(KEYS[2:6], [TASKS[0], *TASKS[3:6]])  # the first of them is known
    cache.add(KEYS[6:], TASKS[6:])
    for one in (cache, other, PartCache(tmp_path / "c", 3)):
        assert one.missing(KEYS) == []
        assert len(one) == len(KEYS)
        check(one, [*range(8)])
        check(one, [6, 0, 2])
    with pytest.raises(KeyError):
        cache.tasks(["f" * 32])


def test_parts_that_no_key_names_are_written_over(tmp_path: Path) -> None:
    cache = PartCache(tmp_path / "c", 3)
    cache.add(KEYS[:3], TASKS[:3])
    for name in ("parts.f16", "places.i64"):  # killed before the keys were written
        with (tmp_path / "c" / name).open("ab") as file:
            file.write(b"x" * 7)
    cache.add(KEYS[3:], TASKS[3:])
    check(cache, [*range(8)])


def test_an_empty_cache_has_parts_of_no_task(tmp_path: Path) -> None:
    cache = PartCache(tmp_path / "c", 3)
    assert len(cache.tasks([])[np.arange(0)]) == 0
    cache.add(KEYS[1:2], TASKS[1:2])
    assert cache.tasks(KEYS[1:2])[np.arange(1)].rows.shape == (0, 3)


def test_blocks_hold_all_tasks_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "BLOCK_PARTS", 4)
    tasks = in_memory(TASKS, 3)
    blocks = list(tasks.blocks())
    assert np.concatenate([at for at, _ in blocks]).tolist() == [*range(8)]
    assert max(len(parts.rows) for _, parts in blocks) == 5  # one task of more than four
    assert len(blocks) > 3


def test_parted_vectors_are_read_by_positions() -> None:
    vectors = PartedVectors(np.eye(8, dtype=np.float32), {"c": in_memory(TASKS, 3)})
    some = vectors[np.array([6, 2])]
    assert (len(some), some.shape) == (2, (2, 8))
    assert some.parts["c"].sizes.tolist() == [4, 5]
    np.testing.assert_array_equal(some.parts["c"][np.array([1])].rows, TASKS[2].features)


class Sure:
    """A head that is as sure of a part as its first feature says."""

    def flat_probabilities(self, parts: RaggedArray) -> np.ndarray:
        sure = np.clip(np.abs(parts.rows[:, :1].astype(np.float32)), 0, 1)
        return np.concatenate([(1 + sure) / 2, (1 - sure) / 2], axis=1)


class Unsure(Sure):
    """A head that doubts each part by half."""

    def flat_probabilities(self, parts: RaggedArray) -> np.ndarray:
        return np.tile(np.float32([0.75, 0.25]), (len(parts.rows), 1))


def test_tasks_are_pooled_by_the_doubt_about_their_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "BLOCK_PARTS", 4)
    heads: list[Any] = [Sure(), Unsure()]
    found = pool_tasks(in_memory(TASKS, 3), heads)
    for at, task in enumerate(TASKS):
        w = np.maximum(1 - np.minimum(np.abs(task.features[:, 0]), 1), 0.5)
        if len(w):
            np.testing.assert_allclose(found.vectors[at], w @ task.features / w.sum(), atol=1e-5)
            assert found.doubts[at] == pytest.approx(w.mean(), abs=1e-5)
    assert found.costs.tolist() == [2, 1, 5, 1, 3, 1, 4, 2]


def test_where_doubt_does_not_weigh_the_vectors_are_plain_means() -> None:
    weighted, plain = (
        pool_tasks(in_memory(TASKS, 3), [Sure()], by_doubt=one) for one in (True, False)
    )  # type: ignore[list-item]
    for at, task in enumerate(TASKS):
        if len(task):
            np.testing.assert_allclose(plain.vectors[at], task.features.mean(axis=0), atol=1e-5)
    assert plain.doubts.tolist() == weighted.doubts.tolist()
    assert not np.allclose(plain.vectors, weighted.vectors)


def test_before_any_label_all_parts_weigh_the_same() -> None:
    found = pool_tasks(in_memory(TASKS, 3), [])
    assert found.doubts.tolist() == [1, 0, 1, 1, 1, 0, 1, 1]
    assert len(pool_tasks(in_memory([], 3), []).vectors) == 0


def test_what_is_pooled_stands_beside_the_vectors_of_other_controls() -> None:
    pooled = pool_tasks(in_memory(TASKS, 3), [])
    found = side_by_side([pooled, pooled], np.eye(8, dtype=np.float32))
    assert found.vectors.shape == (8, 3 + 3 + 8)
    np.testing.assert_allclose(np.square(found.vectors).sum(axis=1), 3, atol=1e-5)
    assert found.costs.tolist() == [4, 2, 10, 2, 6, 2, 8, 4]
