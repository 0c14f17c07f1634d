"""Ragged arrays: tasks of several parts each, as one array of all parts with the tasks' offsets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from .errors import DataError

__all__ = ["RaggedArray"]

Array = npt.NDArray[Any]
Offsets = npt.NDArray[np.int64]


class RaggedArray:
    """N tasks, task i with the parts ``rows[offsets[i]:offsets[i + 1]]``; a task may have none.

    Parameters
    ----------
    rows : array of shape (P, d)
        The parts of all tasks, one task after the other; perhaps memory-mapped, of any real type.
    offsets : array of int of shape (N + 1,)
        Ascending from 0 to P.
    costs : array of shape (N,), optional
        What it costs to label each task; in proportion to its parts when omitted.

    Raises
    ------
    DataError
        When they do not fit each other.
    """

    def __init__(self, rows: Array, offsets: Any, costs: Any = None) -> None:
        self.rows = rows
        self.offsets: Offsets = np.asarray(offsets, np.int64)
        if getattr(rows, "ndim", 0) != 2:
            raise DataError(
                f"the parts of tasks have shape {np.shape(rows)}; expected (parts, features)"
            )
        at = self.offsets
        if at.ndim != 1 or not len(at) or (np.diff(at) < 0).any() or at[0] or at[-1] != len(rows):
            raise DataError(
                f"the offsets of tasks do not fit {len(rows)} parts; expected ascending numbers "
                f"from 0 to {len(rows)}, one more than there are tasks"
            )
        self.costs: Array | None = None if costs is None else np.asarray(costs)
        if self.costs is not None and self.costs.shape != (len(self),):
            raise DataError(
                f"the costs of tasks have shape {self.costs.shape}; expected ({len(self)},)"
            )

    @classmethod
    def of(cls, parts: Any) -> RaggedArray:
        """Return a ragged array of a list of (parts, d) arrays, one a task; one passes through.

        An array of shape (N, parts, d) is a list of tasks of equal size.

        Raises
        ------
        DataError
            When they are of another kind, or have different numbers of features.
        """
        if isinstance(parts, RaggedArray):
            return parts
        if getattr(parts, "ndim", 0) == 3:
            parts = list(parts)
        if not isinstance(parts, list | tuple):
            raise DataError(
                f"tasks of parts are of type {type(parts).__name__}; expected a list of arrays of "
                "shape (parts, features), one a task, or a RaggedArray"
            )
        arrays = [np.asarray(one) for one in parts]
        width = next((one.shape[1] for one in arrays if one.ndim == 2), 0)
        for at, one in enumerate(arrays):
            if one.ndim != 2 or one.shape[1] != width:
                raise DataError(
                    f"task {at} has parts of shape {one.shape}; expected (parts, {width or 'd'})"
                )
        rows = np.concatenate(arrays) if arrays else np.zeros((0, 0), np.float32)
        return cls(rows, np.cumsum([0, *map(len, arrays)]))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, task: int) -> Array:
        """Return the parts of one task."""
        at = range(len(self))[task]
        return self.rows[self.offsets[at] : self.offsets[at + 1]]

    @property
    def sizes(self) -> Offsets:
        """The number of parts of each task, (N,)."""
        return np.diff(self.offsets)

    @property
    def n_features(self) -> int:
        """The number of features of a part, d."""
        return int(self.rows.shape[1])

    def places(self, tasks: Any) -> Offsets:
        """Return the rows of the parts of some tasks, one task after the other."""
        tasks = np.asarray(tasks, np.int64)
        sizes = self.sizes[tasks]
        ends = np.cumsum(sizes)
        return np.arange(ends[-1] if len(ends) else 0) + np.repeat(
            self.offsets[tasks] - (ends - sizes), sizes
        )

    def take(self, tasks: slice | Any) -> RaggedArray:
        """Return some tasks in their order; of a slice without a copy of their parts."""
        costs = None if self.costs is None else self.costs[tasks]
        if isinstance(tasks, slice):
            start, stop, _ = tasks.indices(len(self))
            offsets = self.offsets[start : stop + 1]
            return RaggedArray(self.rows[offsets[0] : offsets[-1]], offsets - offsets[0], costs)
        tasks = np.asarray(tasks, np.int64)
        offsets = np.cumsum([0, *self.sizes[tasks]])
        return RaggedArray(self.rows[self.places(tasks)], offsets, costs)

    def split(self, values: Sequence[Any] | Array) -> list[Any]:
        """Return what belongs to each task of values that are one a part."""
        return [values[start:stop] for start, stop in pairwise(self.offsets)]

    def blocks(self, parts: int) -> Iterator[slice]:
        """Yield slices of tasks that have at most so many parts, or are one task of more."""
        start = 0
        while start < len(self):
            limit = self.offsets[start] + parts
            stop = int(np.searchsorted(self.offsets, limit, side="right")) - 1
            yield slice(start, max(start + 1, min(stop, len(self))))
            start = max(start + 1, min(stop, len(self)))
