"""Columns of a matrix that greedy selections compute several at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

import torch

__all__ = ["ColumnCache"]

Column = TypeVar("Column")


class ColumnCache(Generic[Column]):
    """Columns that were computed ahead of their use.

    A greedy selection needs one column per pick. One matrix product for the columns of several
    candidates is much faster than one product per column, and the best candidates at one step are
    mostly the picks of the next steps.

    Parameters
    ----------
    compute : callable
        Returns the columns of some indices, (m,) int64, in one product.
    keep : int
        Earlier columns that are kept beside the latest ones; the oldest are dropped.
    """

    def __init__(self, compute: Callable[[torch.Tensor], Iterable[Column]], keep: int) -> None:
        self._compute = compute
        self._keep = keep
        self._columns: dict[int, Column] = {}

    def __contains__(self, index: int) -> bool:
        return index in self._columns

    def __iter__(self) -> Iterator[int]:
        return iter(self._columns)

    def fetch(self, indices: torch.Tensor) -> None:
        """Compute the columns of some indices."""
        columns = list(self._compute(indices))
        for index, column in zip(indices.tolist(), columns, strict=True):
            self._columns.pop(index, None)
            self._columns[index] = column
        while len(self._columns) > self._keep + len(columns):
            self._columns.pop(next(iter(self._columns)))

    def pop(self, index: int) -> Column:
        """Return the column of an index and drop it."""
        return self._columns.pop(index)
