"""Regions of a task that bear a label. How those of several annotators become one.

A region is kept as ``[start, end, label]``; a task's label is the sorted list of its regions, and
an empty list says that nothing is there. Of a span of a text start and end are code points, the end
exclusive; of a box in an image they are its upper left and lower right corner, in percent, of
another shape with its mask behind them, see `masks`, and of a key point the same place twice; of a
segment of audio or of a time series they are times, as float.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from .masks import mask_overlap

__all__ = [
    "Region",
    "ScoredRegion",
    "agreement",
    "count_matches",
    "merge_regions",
    "overlap",
    "sorted_regions",
    "touch",
]

SAME = 0.5  # share of the union that two regions of one label overlap in, to be the same one
ROUGH = 0.1  # share of the smaller one: proposed borders in images and times are rough
NEAR = 100 / 16  # percent: so far apart two key points of one label may be, to be the same one


class Region(NamedTuple):
    """A labeled region; start and end are numbers, or corners (x, y), perhaps with a mask."""

    start: Any
    end: Any
    label: str

    @classmethod
    def of(cls, one: Sequence[Any]) -> Region:
        """Return a region as it is kept, perhaps with a score behind it."""
        start, end = (tuple(at) if isinstance(at, list | tuple) else at for at in one[:2])
        return cls(start, end, one[2])

    @property
    def is_box(self) -> bool:
        """Whether it lies in an image: as a box, in a box, or as a point."""
        return isinstance(self.start, tuple)

    @property
    def is_point(self) -> bool:
        """Whether it is a point in an image."""
        return self.is_box and self.start == self.end

    @property
    def is_shape(self) -> bool:
        """Whether it lies in an image and has a mask."""
        return self.is_box and len(self.end) > 2

    @property
    def is_exact(self) -> bool:
        """Whether its borders are counted, so that they are either right or wrong."""
        return isinstance(self.start, int)


class ScoredRegion(NamedTuple):
    """A predicted region, with the probability of its label."""

    start: Any
    end: Any
    label: str
    score: float


def sorted_regions(regions: Iterable[Sequence[Any]]) -> list[list[Any]]:
    """Return regions as a task's label: each once, in order."""
    return [
        [list(one.start), list(one.end), one.label] if one.is_box else list(one)
        for one in sorted({Region.of(one) for one in regions})
    ]


def merge_regions(votes: Sequence[Sequence[Sequence[Any]]]) -> list[list[Any]]:
    """Return the regions that most annotators marked.

    Regions of one label are the same one if they overlap in at least half of their union. One is
    kept if more than half of the annotations have it; if exactly half have it, the latest
    annotation decides. Its borders are those that most gave it, of equally many the latest.

    Parameters
    ----------
    votes : sequence of lists of regions
        Of the annotations, the latest last.
    """
    latest_first = [[Region.of(one) for one in vote] for vote in reversed(votes)]
    n, kept = len(latest_first), []
    for at, vote in enumerate(latest_first):
        others = latest_first[at + 1 :]
        for region in vote:
            same = [region]
            for other in others:
                if found := _same(region, other):
                    other.remove(found)
                    same.append(found)
            if 2 * len(same) > n or (2 * len(same) == n and at == 0):
                kept.append(max(same, key=lambda one, same=same: same.count(one)))  # type: ignore[misc]
    return sorted_regions(kept)


def agreement(first: Sequence[Sequence[Any]], second: Sequence[Sequence[Any]]) -> float:
    """Return the F1 of regions that are the same, see `count_matches`; 1 where both are empty."""
    if not first and not second:
        return 1.0
    return 2 * count_matches(first, second) / (len(first) + len(second))


def count_matches(truth: Sequence[Sequence[Any]], found: Sequence[Sequence[Any]]) -> int:
    """Count the regions that were found.

    A span is found if its borders and its label are right, a box or a segment if one of its label
    overlaps with it in half of their union or more, a key point if one of its label is near. Each
    counts once.
    """
    left = {Region.of(one) for one in truth}
    given = {Region.of(one) for one in found}
    if all(one.is_exact for one in left):
        return len(left & given)
    pairs = [(overlap(a, b), a, b) for a in left for b in given if a.label == b.label]
    n = 0
    for share, a, b in sorted(pairs, reverse=True):
        if share >= SAME and a in left and b in given:
            n += 1
            left.remove(a)
            given.remove(b)
    return n


def overlap(first: Region, second: Region) -> float:
    """Return the share of the union of two regions in which they overlap.

    Moments, which have no length, are the same or not. Of points it falls with the distance, to a
    half at `NEAR`.
    """
    if first[:2] == second[:2]:
        return 1.0
    if first.is_point and second.is_point:
        return max(0.0, 1 - math.dist(first.start, second.start) / (2 * NEAR))
    both, one, other = _sizes(first, second)
    if both and first.is_shape and second.is_shape:
        return mask_overlap(first[:2], second[:2])
    return both / (one + other - both) if both else 0.0


def touch(first: Region, second: Region) -> bool:
    """Return whether two regions share more than the roughness of their borders."""
    if first.is_exact or first.is_point or first[:2] == second[:2]:
        return overlap(first, second) > 0
    both, *own = _sizes(first, second)
    if not min(own):  # a moment
        return bool(max(first.start, second.start) <= min(first.end, second.end))
    return both > ROUGH * min(own)


def _same(region: Region, others: Sequence[Region]) -> Region | None:
    """Return that of some regions which is the same one; None without."""
    shares = [(overlap(region, one), one) for one in others if one.label == region.label]
    share, found = max(shares, default=(0.0, None))
    return found if share >= SAME else None


def _sizes(first: Region, second: Region) -> tuple[float, float, float]:
    """Return the size of what two regions share, in a box around it, and their own."""
    start, end = _each(max, first.start, second.start), _each(min, first.end, second.end)
    return _size(start, end), _size(*first[:2]), _size(*second[:2])


def _each(pick: Callable[..., Any], first: Any, second: Any) -> Any:
    """Pick one of two numbers, or of each coordinate of two corners."""
    if isinstance(first, tuple):
        return tuple(map(pick, first, second))
    return pick(first, second)


def _size(start: Any, end: Any) -> float:
    """Return the length of a span, or the area of a box; 0 where it is empty."""
    if not isinstance(start, tuple):
        return max(0.0, end - start)
    sides = [max(0.0, high - low) for low, high in zip(start, end[:2], strict=True)]
    return sides[0] * sides[1]
