"""How noisy the label of each task is, from what its annotators agree on.

A label of a class that is wrong with probability e is a signal of ``1 - 2e`` with variance
``4e(1 - e)``: e is the share of the annotations against the label, with half an annotation against
and half for it added. The variance of a number is that among its annotators, drawn towards the
mean of all tasks as if two more annotators had it, over their count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ...state.store import TaskRow

__all__ = ["label_noise"]

Array = npt.NDArray[np.float64]

NOISIEST = 10.0
LEAST_NOISY = 0.1
MEAN_COUNTS_FOR = 2  # annotators


def label_noise(rows: Sequence[TaskRow]) -> Array | None:
    """Return the variance of each task's label, in units of a single annotation's.

    The mean over the controls of a task, from 0.1 to 10; None where no task has several
    annotations.
    """
    if not any(row.votes for row in rows):
        return None
    noise = np.ones(len(rows))
    spreads = _mean_variances(rows)
    for at, row in enumerate(rows):
        if row.votes:
            found = [
                _of_number(count, spread, spreads[name])
                if name in spreads
                else _of_class(count, spread)
                for name, (count, spread) in row.votes.items()
            ]
            noise[at] = np.clip(np.mean(found), LEAST_NOISY, NOISIEST)
    return noise


def _mean_variances(rows: Sequence[TaskRow]) -> Mapping[str, float]:
    """Return the variance among annotators by control whose answers are numbers."""
    sums: dict[str, list[float]] = {}
    for row in rows:
        for name, (count, disagreement) in (row.votes or {}).items():
            if isinstance((row.labels or {}).get(name), float):
                found = sums.setdefault(name, [0.0, 0.0])
                found[0] += (count - 1) * disagreement
                found[1] += count - 1
    return {name: total / freedom for name, (total, freedom) in sums.items()}


def _of_class(count: int, against: float) -> float:
    return min(_of_error((against + 0.5) / (count + 1)) / _of_error(0.25), NOISIEST)


def _of_error(error: float) -> float:
    return 4 * error * (1 - error) / max((1 - 2 * error) ** 2, 1e-9)


def _of_number(count: int, variance: float, mean: float) -> float:
    if mean <= 0:
        return 1 / count
    drawn = (MEAN_COUNTS_FOR * mean + (count - 1) * variance) / (MEAN_COUNTS_FOR + count - 1)
    return drawn / mean / count
