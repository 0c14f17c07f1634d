"""Embedding cache: content-addressed rows on disk, never computed twice, mapped into memory.

One folder per project and encoder fingerprint holds two files that only grow: ``keys.bin`` (16
bytes a row) and ``vectors.f16`` (float16, row-major). A row counts once its key is written, and
keys are written after the vectors reached the disk, so a crash leaves at most vectors without
keys, which the next writer overwrites. Writers exclude each other by a file lock; readers need
none. `backend/docs/quality.md` compares it with SQLite and LMDB.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ...state.content_keys import ContentKeys, KeyedColumn
from ...state.folders import make_private_folder
from .key_index import KEY_BYTES, KeyArray, KeyIndex, RowArray, read_keys

__all__ = ["CachedVectors", "EmbeddingCache", "Vectors", "read_rows"]

BLOCK = 16384  # rows of a block: 25 MB as float32 with 384 features


class CachedVectors:
    """Embeddings that stay on disk: only what is asked for is read.

    Parameters
    ----------
    path : Path
        Of the file of vectors.
    n_features : int
        Length of each.
    rows : array of shape (n,), int64
        Which rows of the file they are, in order.

    Attributes
    ----------
    shape : (n, n_features)
    """

    def __init__(self, path: Path, n_features: int, rows: RowArray) -> None:
        self.path, self.rows = path, rows
        self.shape = (len(rows), n_features)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: RowArray | npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
        """Read those at some positions, or of a mask, as float32."""
        return self.read(self.rows[at]).astype(np.float32)

    def read(self, rows: RowArray) -> npt.NDArray[np.float16]:
        """Read rows of the file as they are stored."""
        return read_rows(self.path, self.shape[1], rows)


def read_rows(path: Path, n_features: int, rows: RowArray) -> npt.NDArray[np.float16]:
    """Read rows of a file of vectors as they are stored, (len(rows), n_features)."""
    file = np.memmap(path, np.float16, "r") if len(rows) else np.empty(0, np.float16)
    return np.asarray(file.reshape(-1, n_features).take(rows, axis=0))


#: Embeddings of shape (n, d), in memory or on disk; both are read by positions.
Vectors = npt.NDArray[np.float32] | CachedVectors


class EmbeddingCache:
    """Embeddings of one project under one encoder, safe to share between threads.

    It may stay open: it sees what other processes append, and when the folder was made anew.

    Parameters
    ----------
    folder : Path
        Made if missing.
    n_features : int
        Length of each embedding.

    Attributes
    ----------
    dtype : type
    file_name : str
        Of what is stored, and of its file; others where rows are no embeddings.
    """

    dtype: ClassVar[type[np.generic]] = np.float16
    file_name: ClassVar[str] = "vectors.f16"

    def __init__(self, folder: Path, n_features: int) -> None:
        self.folder, self.n_features = folder, n_features
        self._row_bytes = n_features * np.dtype(self.dtype).itemsize
        self._keys_path = folder / "keys.bin"
        self._vectors_path = folder / self.file_name
        self._lock_path = folder / "lock"
        self._guard = threading.RLock()
        self._index = KeyIndex()
        self._rows = KeyedColumn(self._find, unknown=-1)
        # The file whose keys are in the index: while it is open, no other gets its inode.
        self._indexed: BufferedReader | None = None
        self._refresh()

    def __len__(self) -> int:
        return len(self._index)

    def missing(self, keys: Sequence[str]) -> list[int]:
        """Positions of the keys that are not cached, the first of each only."""
        self._refresh()
        wanted = _parse(keys)
        return _first_of_each(wanted, np.flatnonzero(self._rows.of(wanted) < 0))

    def get(self, keys: Sequence[str]) -> npt.NDArray[np.float32]:
        """Read embeddings as float32, shape (n, n_features).

        Raises
        ------
        KeyError
            When a key is not cached.
        """
        embeddings = np.empty((len(keys), self.n_features), np.float32)
        start = 0
        for block in self.blocks(keys):
            embeddings[start : start + len(block)] = block
            start += len(block)
        return embeddings

    def vectors(self, keys: Sequence[str]) -> CachedVectors:
        """Return embeddings that are read only as they are used.

        Raises
        ------
        KeyError
            When a key is not cached.
        """
        rows = self._rows.of(_parse(keys))
        if len(rows) and rows.min() < 0:
            raise KeyError(keys[int(rows.argmin())])
        return CachedVectors(self._vectors_path, self.n_features, rows)

    def keys(self) -> KeyArray:
        """Return the keys of all rows, in order of the rows."""
        return read_keys(self._keys_path.read_bytes()[: len(self) * KEY_BYTES])

    def blocks(self, keys: Sequence[str]) -> Iterator[npt.NDArray[Any]]:
        """Read embeddings in blocks of shape (m, n_features), as stored, in bounded memory.

        Blocks that lie one row behind the other on disk are not copied but mapped, read-only.

        Raises
        ------
        KeyError
            When a key is not cached.
        """
        wanted = _parse(keys)
        if not len(wanted):
            return
        n = len(self)
        shape = (n, self.n_features)
        vectors = np.asarray(np.memmap(self._vectors_path, self.dtype, "r", shape=shape))
        stored = np.asarray(np.memmap(self._keys_path, wanted.dtype, "r", shape=(n,)))
        for start in range(0, len(wanted), BLOCK):
            part = wanted[start : start + BLOCK]
            # Tasks mostly come in the order in which they were embedded: one look tells, where
            # looking up each takes longer than reading its vector.
            first = int(self._find(part[:1])[0])
            following = slice(first, first + len(part))
            if first >= 0 and np.array_equal(stored[following], part):
                yield vectors[following]
                continue
            rows = self._find(part)
            rows[rows >= n] = -1  # added since we began
            if rows.min() < 0:
                raise KeyError(keys[start + int(rows.argmin())])
            yield vectors.take(rows, axis=0)

    def add(self, keys: Sequence[str], vectors: npt.NDArray[Any]) -> None:
        """Append embeddings; keys that another process added meanwhile are left as they are."""
        with self._locked():
            self._refresh()
            given = _parse(keys)
            wanted = _first_of_each(given, np.flatnonzero(self._find(given) < 0))
            if not wanted:
                return
            block = np.ascontiguousarray(vectors[wanted], dtype=self.dtype)
            with self._vectors_path.open("r+b") as file:
                file.seek(len(self) * self._row_bytes)
                file.write(block.tobytes())
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
            with self._keys_path.open("r+b") as file:
                file.seek(len(self) * KEY_BYTES)
                file.write(b"".join(bytes.fromhex(keys[position]) for position in wanted))
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
            self._refresh()

    def _find(self, keys: KeyArray) -> RowArray:
        with self._guard:
            return self._index.find(keys)

    def _refresh(self) -> None:
        """Add the rows that were written since the last call."""
        with self._guard:
            file = self._keys_file()
            known = len(self)
            size = os.fstat(file.fileno()).st_size // KEY_BYTES
            if size > known:  # mapped: a million keys are read once, into the index
                start, dtype = known * KEY_BYTES, read_keys(b"").dtype
                self._index.append(np.memmap(file, dtype, "r", start, shape=(size - known,)))

    def _keys_file(self) -> BufferedReader:
        """Return the open file of keys; a new file makes the index begin anew."""
        if not self._keys_path.exists():
            make_private_folder(self.folder)
            self._vectors_path.touch(0o600)
            self._keys_path.touch(0o600)
        held = self._indexed
        if held is None or not os.path.samestat(os.fstat(held.fileno()), self._keys_path.stat()):
            if held is not None:
                held.close()
            self._indexed = held = self._keys_path.open("rb")
            self._index = KeyIndex()
            self._rows = KeyedColumn(self._find, unknown=-1)
        return held

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with os.fdopen(os.open(self._lock_path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _parse(keys: Sequence[str]) -> KeyArray:
    return ContentKeys.of(keys).array


def _first_of_each(keys: KeyArray, at: RowArray) -> list[int]:
    """Return those of some positions where a key stands for the first time."""
    _, first = np.unique(keys[at], return_index=True)
    return sorted(at[first].tolist())
