"""Parts that are intervals in a row, such as words and windows: their tags by regions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .part_kind import Tags

__all__ = ["interval_tags"]

INSIDE = 0.5  # share of an interval that a region covers, from which the interval has its tag


def interval_tags(
    regions: Sequence[Sequence[Any]], labels: Sequence[str], intervals: npt.NDArray[Any]
) -> Tags:
    """Return the tag of each interval by the regions of a task: 0 outside, else a label's place.

    An interval is in a region if half of it or more is; a region in which no interval is that far
    has the one that it covers most of, and a moment the one in which it lies. Of regions that
    overlap the shorter one counts, of those of one place the first label.

    Parameters
    ----------
    intervals : array of shape (n, 2)
        In order; the end of each is behind it.
    """
    tags = np.zeros(len(intervals), np.int64)
    if not len(intervals):
        return tags
    starts, ends = intervals[:, 0], intervals[:, 1]
    lengths = ends - starts
    known = [one for one in regions if one[2] in labels]
    order = {label: -at for at, label in enumerate(labels)}
    for start, end, label in sorted(
        known, key=lambda one: (one[0] - one[1], -one[0], order[one[2]])
    ):
        if start == end:
            inside = _at(start, starts, ends)
        else:
            covered = np.minimum(ends, end) - np.maximum(starts, start)
            share = np.divide(covered, lengths, out=np.zeros(len(tags)), where=lengths > 0)
            inside = share >= INSIDE
            if not inside.any() and share.max() > 0:
                inside = share == share.max()
        tags[inside] = labels.index(label) + 1
    return tags


def _at(moment: Any, starts: npt.NDArray[Any], ends: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return which interval a moment is in: the last that begins before it ends, or with it."""
    inside = np.zeros(len(starts), bool)
    if starts[0] <= moment <= ends[-1]:
        inside[int(np.searchsorted(starts, moment, side="right")) - 1] = True
    return inside
