"""Parts of tasks (words of a text), of which a task has as many as its content has.

Where a task's label says which regions it has, each of its parts has a tag: 0 outside of all
regions, else the place of a label in the config, from 1. Parts in no region are labeled, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["PartedVectors", "Parts", "PartsOfTasks", "Positions", "TaskParts"]

FloatArray = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]
Positions = npt.NDArray[np.int64]

BLOCK_PARTS = 2**16  # parts that are in memory at once, while many tasks are read


@dataclass(frozen=True)
class TaskParts:
    """The parts of one task.

    Attributes
    ----------
    features : array of shape (n, d), float32
    places : array of shape (n, 2), int64
        Where each lies in the content: of a word its first code point, and the one behind it.
    """

    features: FloatArray
    places: Places

    def __len__(self) -> int:
        return len(self.places)


@dataclass(frozen=True)
class Parts:
    """The parts of N tasks, one task after the other.

    Attributes
    ----------
    rows : array of shape (P, d)
        The features of all parts.
    places : array of shape (P, 2), int64
    offsets : array of shape (N + 1,), int64
        Task i has the parts ``offsets[i]:offsets[i + 1]``.
    """

    rows: npt.NDArray[Any]
    places: Places
    offsets: Positions

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def sizes(self) -> Positions:
        """The number of parts of each task."""
        return np.diff(self.offsets)

    def places_of(self, task: int) -> Places:
        """Return the places of the parts of one task."""
        return self.places[self.offsets[task] : self.offsets[task + 1]]


@dataclass(frozen=True)
class PartsOfTasks:
    """The parts of n tasks that are read only as they are used.

    Attributes
    ----------
    sizes : array of shape (n,), int64
        How many each task has.
    n_features : int
    read : callable
        Reads the parts of the tasks at some positions.
    """

    sizes: Positions
    n_features: int
    read: Callable[[Positions], Parts]

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, at: npt.NDArray[Any]) -> Parts:
        """Read the parts of the tasks at some positions, or of a mask."""
        at = np.asarray(at)
        return self.read(np.flatnonzero(at) if at.dtype == bool else at.astype(np.int64))

    def blocks(self) -> Iterator[tuple[Positions, Parts]]:
        """Yield all tasks in order, in blocks of bounded size: their positions and parts."""
        ends = np.cumsum(self.sizes)
        start = 0
        while start < len(self):
            before = ends[start - 1] if start else 0
            stop = max(int(np.searchsorted(ends, before + BLOCK_PARTS, side="right")), start + 1)
            at = np.arange(start, stop)
            yield at, self.read(at)
            start = stop

    def select(self, at: npt.NDArray[Any]) -> PartsOfTasks:
        """Return some of the tasks, unread."""
        every = np.arange(len(self))[np.asarray(at)]
        return PartsOfTasks(self.sizes[every], self.n_features, lambda some: self.read(every[some]))


@dataclass(frozen=True)
class PartedVectors:
    """What is known of n tasks: a vector of each, and its parts for the controls of regions.

    Attributes
    ----------
    vectors : array or CachedVectors of shape (n, d)
        d is 0 where all controls label regions.
    parts : mapping
        By the name of the control.
    """

    vectors: Any
    parts: Mapping[str, PartsOfTasks]

    def __len__(self) -> int:
        return len(self.vectors)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of tasks, and length of their vectors."""
        return len(self.vectors), self.vectors.shape[1]

    def __getitem__(self, at: npt.NDArray[Any] | slice) -> PartedVectors:
        """Return the tasks at some positions, or of a mask."""
        every = np.arange(len(self))[at]
        parts = {name: one.select(every) for name, one in self.parts.items()}
        return PartedVectors(self.vectors[every], parts)


def in_memory(tasks: Sequence[TaskParts], n_features: int) -> PartsOfTasks:
    """Return parts that are in memory."""
    sizes = np.array([len(one) for one in tasks], np.int64)

    def read(at: Positions) -> Parts:
        some = [tasks[position] for position in at.tolist()]
        rows = [np.empty((0, n_features), np.float32), *(one.features for one in some)]
        places = [np.empty((0, 2), np.int64), *(one.places for one in some)]
        offsets = np.concatenate([[0], np.cumsum(sizes[at])])
        return Parts(np.concatenate(rows), np.concatenate(places), offsets)

    return PartsOfTasks(sizes, n_features, read)
