"""Shards: embeddings as the workers of a cluster write them, one small file a chunk.

A shard's name is the digest of its keys, so one that is computed again replaces itself, and tells
that there is nothing left to compute. It is seen whole or not at all: it is written under another
name first, and holds a digest of what it holds.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
from pyarrow import ArrowInvalid, fs

from ....errors import EngineError
from ...embedding.cache import EmbeddingCache
from ...embedding.key_index import KEY_BYTES

__all__ = ["Intake", "Shards"]

log = logging.getLogger(__name__)

FORMAT = b"alshard1"
DIGEST_BYTES = 16
HEADER = len(FORMAT) + 8 + DIGEST_BYTES  # then the keys, then the vectors
SUFFIX = ".shard"
PART = ".part"
AT_ONCE = 256  # shards that are taken in with one write to the disk


class Shards:
    """The shards of one project and encoder.

    Parameters
    ----------
    where : str
        A folder that all machines see, or an address that pyarrow knows (``s3://bucket/folder``,
        ``gs://``, ``hdfs://``).

    Raises
    ------
    EngineError
        When there is no such place, or, from every method, when it cannot be read or written.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        try:
            self._files, self._folder = fs.FileSystem.from_uri(where)
            self._files.create_dir(self._folder, recursive=True)
        except (ArrowInvalid, OSError) as error:
            raise EngineError(
                f"shards cannot be stored at {where} ({error}); correct RAY_SHARDS, "
                "or leave it empty"
            ) from error

    def write(
        self, chunk: Sequence[str], good: Sequence[int], vectors: npt.NDArray[np.float32]
    ) -> None:
        """Write what could be embedded of a chunk, as float16.

        Parameters
        ----------
        chunk : sequence of str
            All its keys.
        good : sequence of int, length n
            Positions of those with an embedding.
        vectors : array of shape (n, d)
        """
        body = b"".join(bytes.fromhex(chunk[at]) for at in good)
        body += vectors.astype(np.float16).tobytes()
        shape = np.array(vectors.shape, "<u4").tobytes()
        target = f"{self._folder}/{_name(chunk)}"
        temporary = f"{target}.{os.getpid()}{PART}"
        with self._in_words("written to"):
            with self._files.open_output_stream(temporary) as file:
                file.write(FORMAT + shape + _digest(body) + body)
            self._files.move(temporary, target)

    def present(self, chunk: Sequence[str]) -> set[str]:
        """Return the keys of a chunk whose embeddings are there."""
        name = _name(chunk)
        with self._in_words("read at"):
            found = self._files.get_file_info(f"{self._folder}/{name}")
        return set(self.read(name)[0]) if found.type == fs.FileType.File else set()

    def names(self) -> list[str]:
        """List the shards that are there."""
        with self._in_words("read at"):
            listed = self._files.get_file_info(fs.FileSelector(self._folder, allow_not_found=True))
        return sorted(one.base_name for one in listed if one.base_name.endswith(SUFFIX))

    def read(self, name: str) -> tuple[list[str], npt.NDArray[np.float32]]:
        """Read the keys and embeddings of a shard; of a damaged one, none."""
        with (
            self._in_words("read at"),
            self._files.open_input_stream(f"{self._folder}/{name}") as file,
        ):
            data = file.read()
        head, body = data[:HEADER], data[HEADER:]
        if head[: len(FORMAT)] != FORMAT or head[len(FORMAT) + 8 :] != _digest(body):
            log.warning("the shard %s is damaged; it is computed again", name)
            return [], np.empty((0, 0), np.float32)
        n, d = np.frombuffer(head, "<u4", 2, len(FORMAT)).tolist()
        keys = [body[at : at + KEY_BYTES].hex() for at in range(0, n * KEY_BYTES, KEY_BYTES)]
        vectors = np.frombuffer(body, np.float16, offset=n * KEY_BYTES).reshape(n, d)
        return keys, vectors.astype(np.float32)

    def sweep(self) -> None:
        """Remove what a worker was writing when it was killed."""
        with self._in_words("removed from"):
            for one in self._files.get_file_info(fs.FileSelector(self._folder)):
                if one.base_name.endswith(PART):
                    self._files.delete_file(one.path)

    def remove(self, names: Collection[str]) -> None:
        """Remove shards that were taken over."""
        with self._in_words("removed from"):
            for name in names:
                self._files.delete_file(f"{self._folder}/{name}")

    @contextmanager
    def _in_words(self, cannot_be: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise EngineError(f"shards cannot be {cannot_be} {self.where}: {error}") from error


class Intake:
    """Takes shards into the cache of a project as they come.

    They are removed only at the end: until then they tell a worker that repeats a page what of it
    is done.

    Attributes
    ----------
    count : int
        Embeddings taken in.
    """

    def __init__(self, shards: Shards, cache: EmbeddingCache) -> None:
        self._shards, self._cache = shards, cache
        self._taken: set[str] = set()
        self.count = 0

    def take(self) -> None:
        """Read the shards that are new into the cache."""
        new = [name for name in self._shards.names() if name not in self._taken]
        for start in range(0, len(new), AT_ONCE):
            some = new[start : start + AT_ONCE]
            read = [shard for shard in map(self._shards.read, some) if shard[0]]
            if read:
                keys = [key for found, _ in read for key in found]
                self._cache.add(keys, np.concatenate([vectors for _, vectors in read]))
                self.count += len(keys)
            self._taken.update(some)

    def clear(self) -> None:
        """Remove what was taken in, and count anew."""
        self._shards.remove(self._taken)
        self._taken, self.count = set(), 0


def _name(chunk: Sequence[str]) -> str:
    return _digest("".join(chunk).encode()).hex() + SUFFIX


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()
