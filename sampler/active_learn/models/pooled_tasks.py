"""Tasks that are made of parts, as one vector each: the mean of its parts by the doubt about them.

Parts that the head is sure of say nothing of what a task would teach, so they weigh nothing, and a
text of which one name is unsure lies near other texts with such names. Before any label all parts
weigh the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from ..errors import DataError
from ..ragged import RaggedArray

__all__ = ["PooledTasks", "doubt", "pool_parts"]

FloatArray = npt.NDArray[np.float32]

# Parts that are in memory as float32 at once.
BLOCK_PARTS = 2**16
LEAST_WEIGHT = 1e-6


def doubt(probabilities: npt.NDArray[Any]) -> FloatArray:
    """Return one minus the margin between the two likeliest classes of each part, (P,)."""
    if probabilities.shape[1] < 2:
        return np.ones(len(probabilities), np.float32)
    top = np.partition(probabilities, -2, axis=1)
    return (1 - (top[:, -1] - top[:, -2])).astype(np.float32)


@dataclass(frozen=True)
class PooledTasks:
    """What selection knows of N tasks of parts; candidates and labeled data of `ActiveSampler`.

    Attributes
    ----------
    vectors : array of shape (N, d), float32
        The weighted mean of the parts of each task. The sampler centers them over all tasks and
        compares their directions.
    doubts : array of shape (N,), float32
        Mean weight of the parts, in [0, 1]: how much there is to learn in the task.
    costs : array of shape (N,), float32
        What it costs to label the task, in any unit.

    Raises
    ------
    DataError
        When shapes do not fit, or a cost is not above 0 and finite.
    """

    vectors: FloatArray
    doubts: FloatArray
    costs: FloatArray

    def __post_init__(self) -> None:
        shapes = {np.shape(self.doubts), np.shape(self.costs)}
        if np.ndim(self.vectors) != 2 or shapes != {(len(self.vectors),)}:
            raise DataError(
                f"pooled tasks have vectors of shape {np.shape(self.vectors)}, doubts "
                f"{np.shape(self.doubts)} and costs {np.shape(self.costs)}; expected (N, d), (N,) "
                "and (N,)"
            )
        check_costs(self.costs)

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, tasks: Any) -> PooledTasks:
        """Return some tasks, by positions, a mask or a slice."""
        return PooledTasks(self.vectors[tasks], self.doubts[tasks], self.costs[tasks])

    take = __getitem__

    def __iter__(self) -> Iterator[PooledTasks]:
        """Yield each task, as a stream takes it."""
        return (self[at : at + 1] for at in range(len(self)))

    @classmethod
    def cat(cls, tasks: Sequence[PooledTasks]) -> PooledTasks:
        """Return tasks that were pooled apart as one."""
        return cls(
            np.concatenate([one.vectors for one in tasks]),
            np.concatenate([one.doubts for one in tasks]),
            np.concatenate([one.costs for one in tasks]),
        )


def pool_parts(
    parts: Any,
    probabilities: Callable[[RaggedArray], FloatArray] | None = None,
    costs: Any = None,
    *,
    by_doubt: bool = True,
) -> PooledTasks:
    """Return one vector for each task.

    Parameters
    ----------
    parts : list of arrays of shape (n_i, d), or RaggedArray
    probabilities : callable, optional
        Returns the class probabilities (P, K) of the parts of some tasks; all parts weigh 1 when
        omitted.
    costs : array of shape (N,), optional
        What it costs to label each task; the number of its parts when omitted.
    by_doubt : bool
        Whether parts weigh as much in the vectors as they are doubted, else all the same: better
        where features say little of what is alike, such as hashed words.

    Raises
    ------
    DataError
        When parts, probabilities or costs do not fit, or parts hold NaN or infinity.
    """
    ragged = RaggedArray.of(parts)
    n = len(ragged)
    costs = np.maximum(ragged.sizes, 1) if costs is None else costs
    vectors, doubts = np.zeros((n, ragged.n_features), np.float32), np.zeros(n, np.float32)
    for block in ragged.blocks(BLOCK_PARTS):
        some = ragged.take(block)
        weights: npt.NDArray[Any] = np.ones(len(some.rows), np.float32)
        if probabilities is not None:
            weights = doubt(_checked(probabilities(some), some))
        rows: npt.NDArray[Any] = np.asarray(some.rows, np.float32)
        shape = (len(some), len(rows))
        sums = csr_array((weights, np.arange(len(rows)), some.offsets), shape=shape)
        doubts[block] = sums.sum(axis=1) / np.maximum(some.sizes, 1)
        if not by_doubt:
            sums.data[:] = 1
        total = np.maximum(sums.sum(axis=1), LEAST_WEIGHT)
        vectors[block] = (sums @ rows) / total[:, None]
    return PooledTasks(vectors, doubts, np.asarray(costs, np.float32))


def check_costs(costs: Any) -> None:
    """Check that costs are numbers above 0.

    Raises
    ------
    DataError
    """
    if not (np.isfinite(costs).all() and (np.asarray(costs) > 0).all()):
        raise DataError(
            "the costs of tasks hold a number that is not above 0 and finite; give what it costs "
            "to label each, such as seconds"
        )


def _checked(probabilities: Any, parts: RaggedArray) -> npt.NDArray[Any]:
    """Return the probabilities of parts as an array."""
    found = np.asarray(probabilities)
    if found.ndim != 2 or len(found) != len(parts.rows):
        raise DataError(
            f"the probabilities of {len(parts.rows)} parts have shape {found.shape}; expected "
            f"({len(parts.rows)}, classes)"
        )
    return found
