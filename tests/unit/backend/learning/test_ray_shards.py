"""Shards of the Ray engine: whole or not at all, taken in once, errors in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from active_learn_backend.errors import EngineError
from active_learn_backend.learning.embedding.cache import EmbeddingCache

pytest.importorskip("pyarrow", reason="needs pyarrow (the extra [ray])")

from active_learn_backend.learning.engines.ray.shards import Intake, Shards

KEYS = [f"{at:032x}" for at in range(10)]
VECTORS = np.random.default_rng(0).normal(size=(10, 6)).astype(np.float32)


def test_what_is_written_is_read_and_known_by_its_keys(tmp_path: Path) -> None:
    shards = Shards(str(tmp_path / "shards"))
    assert shards.present(KEYS) == set()
    shards.write(KEYS, [0, 1, 3], VECTORS[[0, 1, 3]])
    assert shards.present(KEYS) == {KEYS[0], KEYS[1], KEYS[3]}
    assert shards.present(KEYS[:5]) == set()  # another chunk
    (name,) = shards.names()
    keys, vectors = shards.read(name)
    assert keys == [KEYS[0], KEYS[1], KEYS[3]]
    np.testing.assert_array_equal(vectors, VECTORS[[0, 1, 3]].astype(np.float16))
    shards.write(KEYS, [0, 1, 3], VECTORS[[0, 1, 3]])  # by a worker that repeats it
    assert shards.names() == [name]
    shards.write(KEYS[:2], [], VECTORS[:0])  # of which nothing could be embedded
    assert len(shards.names()) == 2


def test_shards_are_taken_in_once_and_stay_until_the_end(tmp_path: Path) -> None:
    shards, cache = Shards(str(tmp_path / "shards")), EmbeddingCache(tmp_path / "cache", 6)
    intake = Intake(shards, cache)
    shards.write(KEYS[:4], range(4), VECTORS[:4])
    intake.take()
    intake.take()
    assert (intake.count, len(cache)) == (4, 4)
    assert shards.present(KEYS[:4]) == set(KEYS[:4])
    shards.write(KEYS[4:], range(6), VECTORS[4:])
    intake.take()
    assert intake.count == 10
    np.testing.assert_array_equal(cache.get(KEYS), VECTORS.astype(np.float16).astype(np.float32))
    intake.clear()
    assert shards.names() == []
    assert intake.count == 0
    (tmp_path / "shards" / "half.shard.7.part").touch()  # of a worker that was killed
    shards.sweep()
    assert not list((tmp_path / "shards").iterdir())


@pytest.mark.parametrize("kept", [0, 10, 32, 100, 210])
def test_a_torn_shard_counts_for_nothing_and_is_replaced(tmp_path: Path, kept: int) -> None:
    shards, cache = Shards(str(tmp_path / "shards")), EmbeddingCache(tmp_path / "cache", 6)
    shards.write(KEYS, range(10), VECTORS)
    (file,) = (tmp_path / "shards").iterdir()
    file.write_bytes(file.read_bytes()[:kept])
    assert shards.present(KEYS) == set()
    intake = Intake(shards, cache)
    intake.take()
    assert len(cache) == 0
    intake.clear()
    shards.write(KEYS, range(10), VECTORS)
    intake.take()
    assert intake.count == 10


def test_a_place_that_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"shards cannot be stored at nope://bucket.*RAY_SHARDS"):
        Shards("nope://bucket")
    (tmp_path / "file").touch()
    with pytest.raises(EngineError, match="correct RAY_SHARDS"):
        Shards(str(tmp_path / "file" / "below"))
    shards = Shards(str(tmp_path / "shards"))
    (tmp_path / "shards").rmdir()
    (tmp_path / "shards").touch()
    with pytest.raises(EngineError, match="shards cannot be written to"):
        shards.write(KEYS, range(10), VECTORS)
