"""Keys of contents as one array: 16 bytes each, where a list of texts takes a hundred."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

__all__ = ["KEY_BYTES", "ContentKeys", "KeyArray", "KeyedColumn", "read_keys"]

KEY_BYTES = 16

KeyArray = npt.NDArray[np.bytes_]


def read_keys(data: bytes) -> KeyArray:
    """View keys of 16 bytes that follow one another; compared as a whole, zeros included."""
    return np.frombuffer(data, f"S{KEY_BYTES}")


class ContentKeys(Sequence[str]):
    """A sequence of keys, each a text of 32 hexadecimal digits.

    Attributes
    ----------
    array : array of shape (n,)
        The same keys as 16 bytes each.
    """

    def __init__(self, array: KeyArray) -> None:
        self.array = array
        self._bytes = np.ascontiguousarray(array).view(np.uint8).reshape(-1, KEY_BYTES)

    @classmethod
    def of(cls, keys: Iterable[str]) -> ContentKeys:
        """Return keys as such a sequence."""
        return keys if isinstance(keys, cls) else cls(read_keys(bytes.fromhex("".join(keys))))

    def __len__(self) -> int:
        return len(self.array)

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> ContentKeys: ...
    def __getitem__(self, at: int | slice) -> str | ContentKeys:
        if isinstance(at, slice):
            return ContentKeys(self.array[at])
        return self._bytes[at].tobytes().hex()

    def __iter__(self) -> Iterator[str]:
        step = 2 * KEY_BYTES
        for start in range(0, len(self), 1024):
            text = self._bytes[start : start + 1024].tobytes().hex()
            yield from (text[at : at + step] for at in range(0, len(text), step))

    def among(self, some: Collection[str]) -> npt.NDArray[np.bool_]:
        """Return which of the keys are among some, which are few."""
        wanted = np.sort(ContentKeys.of(some).array)
        if not len(wanted):
            return np.zeros(len(self), dtype=bool)
        at = np.minimum(np.searchsorted(wanted, self.array), len(wanted) - 1)
        return np.asarray(wanted[at] == self.array)


class KeyedColumn:
    """Values that follow from keys alone, kept between calls with nearly the same keys.

    A value is computed where another key stands than at the last call. So nothing has to tell this
    what changed, and no value outlives its key.

    Parameters
    ----------
    compute : callable
        Returns the values of some keys, as an array.
    unknown : optional
        A value that may change: a call that finds it is not remembered.
    """

    def __init__(self, compute: Callable[[KeyArray], npt.NDArray[Any]], unknown: Any = None):
        self._compute, self._unknown = compute, unknown
        self._last = read_keys(b""), np.empty(0)

    def of(self, keys: KeyArray) -> npt.NDArray[Any]:
        """Return the values of some keys; not to be changed."""
        known, values = self._last
        both = min(len(keys), len(known))
        same = np.flatnonzero(keys[:both] == known[:both])
        others = np.ones(len(keys), dtype=bool)
        others[same] = False
        if 0 < len(same) == len(known) == len(keys):
            return values
        computed = self._compute(keys[others])
        found = np.empty(len(keys), computed.dtype)
        found[same], found[others] = values[same], computed
        if self._unknown is None or not (computed == self._unknown).any():
            self._last = keys, found
        return found
