"""Cache of the parts of tasks: content-addressed, never computed twice, mapped into memory.

Beside `EmbeddingCache`, whose files here say which rows of two further files a task's parts are:
``parts.f16`` (float16 features, row-major) and ``places.i64``. Both only grow, and reach the disk
before the row that names them, so a crash leaves at most parts that no row names. The next writer
writes over those.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from ..embedding.cache import EmbeddingCache
from .parts import Parts, PartsOfTasks, Positions, TaskParts

__all__ = ["PartCache", "open_part_cache"]


class _Extents(EmbeddingCache):
    """For each task the first of its parts, and the one behind the last."""

    dtype: ClassVar[type[np.generic]] = np.int64
    file_name: ClassVar[str] = "extents.i64"


class PartCache:
    """Parts of the tasks of one project under one encoder, safe to share between threads.

    Parameters
    ----------
    folder : Path
        Made if missing.
    n_features : int
        Length of the features of a part.
    """

    def __init__(self, folder: Path, n_features: int) -> None:
        self.folder, self.n_features = folder, n_features
        self._extents = _Extents(folder, 2)
        self._lock_path = folder / "parts.lock"
        self._files = ((folder / "parts.f16", 2 * n_features), (folder / "places.i64", 16))

    def __len__(self) -> int:
        return len(self._extents)

    def missing(self, keys: Sequence[str]) -> list[int]:
        """Positions of the keys that are not cached, the first of each only."""
        return self._extents.missing(keys)

    def add(self, keys: Sequence[str], tasks: Sequence[TaskParts]) -> None:
        """Append the parts of tasks; keys that are there already are left as they are."""
        with os.fdopen(os.open(self._lock_path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            new = self._extents.missing(keys)
            if not new:
                return
            some = [tasks[at] for at in new]
            stops = self._end() + np.cumsum([0, *map(len, some)])
            features = [np.asarray(one.features, np.float16).tobytes() for one in some]
            places = [np.asarray(one.places, np.int64).tobytes() for one in some]
            for (path, row_bytes), blocks in zip(self._files, (features, places), strict=True):
                _append(path, int(stops[0]) * row_bytes, b"".join(blocks))
            extents = np.stack([stops[:-1], stops[1:]], axis=1)
            self._extents.add([keys[at] for at in new], extents)

    def tasks(self, keys: Sequence[str]) -> PartsOfTasks:
        """Return the parts of tasks, which are read only as they are used.

        Raises
        ------
        KeyError
            When a key is not cached.
        """
        blocks = list(self._extents.blocks(keys))
        extents = np.concatenate([np.empty((0, 2), np.int64), *blocks])
        sizes = extents[:, 1] - extents[:, 0]
        return PartsOfTasks(sizes, self.n_features, lambda at: self._read(extents[at]))

    def _read(self, extents: npt.NDArray[np.int64]) -> Parts:
        sizes = extents[:, 1] - extents[:, 0]
        offsets: Positions = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        rows = np.arange(offsets[-1]) + np.repeat(extents[:, 0] - offsets[:-1], sizes)
        if not len(rows):
            return Parts(
                np.empty((0, self.n_features), np.float16), np.empty((0, 2), np.int64), offsets
            )
        features = np.memmap(self._files[0][0], np.float16, "r").reshape(-1, self.n_features)
        places = np.memmap(self._files[1][0], np.int64, "r").reshape(-1, 2)
        return Parts(features.take(rows, axis=0), places.take(rows, axis=0), offsets)

    def _end(self) -> int:
        """Return the first row that no task has."""
        if not len(self):
            return 0
        *_, last = self._extents.blocks([self._extents.keys()[-1:].tobytes().hex()])
        return int(last[-1, 1])


@lru_cache(maxsize=32)
def open_part_cache(folder: Path, n_features: int) -> PartCache:
    """Open a cache once a process."""
    return PartCache(folder, n_features)


def _append(path: Path, at: int, data: bytes) -> None:
    """Write data at a place of a file, and have it on the disk; what stood behind is dropped."""
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
        file.seek(at)
        file.write(data)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())
