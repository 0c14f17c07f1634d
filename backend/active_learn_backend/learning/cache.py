"""Embedding cache: content-addressed rows on disk, never computed twice, mapped into memory.

One folder per project and encoder fingerprint holds two files that only grow: ``keys.bin`` (16
bytes a row) and ``vectors.f16`` (float16, row-major). A row counts once its key is written, and
keys are written after the vectors reached the disk, so a crash leaves at most vectors without
keys, which the next writer overwrites. Writers exclude each other by a file lock; readers need
none.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["EmbeddingCache"]

KEY_BYTES = 16


class EmbeddingCache:
    """Embeddings of one project under one encoder.

    Parameters
    ----------
    folder : Path
        Made if missing.
    n_features : int
        Length of each embedding.
    """

    def __init__(self, folder: Path, n_features: int) -> None:
        self.n_features = n_features
        folder.mkdir(parents=True, exist_ok=True)
        self._keys_path = folder / "keys.bin"
        self._vectors_path = folder / "vectors.f16"
        self._lock_path = folder / "lock"
        for path in (self._vectors_path, self._keys_path):
            path.touch()
        self._rows: dict[bytes, int] = {}
        self._refresh()

    def __len__(self) -> int:
        return len(self._rows)

    def missing(self, keys: Sequence[str]) -> list[int]:
        """Positions of the keys that are not cached, the first of each only."""
        self._refresh()
        seen: set[bytes] = set()
        positions = []
        for position, key in enumerate(map(bytes.fromhex, keys)):
            if key not in self._rows and key not in seen:
                seen.add(key)
                positions.append(position)
        return positions

    def get(self, keys: Sequence[str]) -> npt.NDArray[np.float32]:
        """Read embeddings as float32, shape (n, n_features).

        Raises
        ------
        KeyError
            When a key is not cached.
        """
        rows = np.fromiter(
            (self._rows[bytes.fromhex(key)] for key in keys), dtype=np.int64, count=len(keys)
        )
        if not len(rows):
            return np.empty((0, self.n_features), np.float32)
        vectors = np.memmap(
            self._vectors_path, np.float16, "r", shape=(len(self._rows), self.n_features)
        )
        return vectors[rows].astype(np.float32)

    def add(self, keys: Sequence[str], vectors: npt.NDArray[np.float32]) -> None:
        """Append embeddings; keys that another process added meanwhile are left as they are."""
        with self._locked():
            self._refresh()
            wanted = self.missing(keys)
            if not wanted:
                return
            block = np.ascontiguousarray(vectors[wanted], dtype=np.float16)
            with self._vectors_path.open("r+b") as file:
                file.seek(len(self._rows) * self.n_features * 2)
                file.write(block.tobytes())
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
            with self._keys_path.open("r+b") as file:
                file.seek(len(self._rows) * KEY_BYTES)
                file.write(b"".join(bytes.fromhex(keys[position]) for position in wanted))
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
            self._refresh()

    def _refresh(self) -> None:
        """Take in the rows that were added since the last look."""
        known = len(self._rows)
        size = self._keys_path.stat().st_size // KEY_BYTES
        if size <= known:
            return
        with self._keys_path.open("rb") as file:
            file.seek(known * KEY_BYTES)
            data = file.read((size - known) * KEY_BYTES)
        for row in range(size - known):
            self._rows[data[row * KEY_BYTES : (row + 1) * KEY_BYTES]] = known + row

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock_path.open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
