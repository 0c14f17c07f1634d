"""Regions of a task that bear a label: spans of a text. How those of several annotators become one.

A region is kept as ``[start, end, label]``, ``end`` exclusive; a task's label is the sorted list of
its regions, and an empty list says that nothing is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

__all__ = ["Region", "ScoredRegion", "exact_f1", "merge_regions", "sorted_regions"]

SAME = 0.5  # share of the union that two regions of one label overlap in, to be the same one


class Region(NamedTuple):
    """A labeled region."""

    start: int
    end: int
    label: str


class ScoredRegion(NamedTuple):
    """A predicted region, with the probability of its label."""

    start: int
    end: int
    label: str
    score: float


def sorted_regions(regions: Iterable[Sequence[Any]]) -> list[list[Any]]:
    """Return regions as a task's label: each once, in order."""
    return [list(one) for one in sorted({Region(*one[:3]) for one in regions})]


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
    latest_first = [[Region(*one) for one in vote] for vote in reversed(votes)]
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


def exact_f1(first: Sequence[Sequence[Any]], second: Sequence[Sequence[Any]]) -> float:
    """Return the F1 of regions that agree in borders and label; 1 where both are empty."""
    if not first and not second:
        return 1.0
    both = {Region(*one[:3]) for one in first} & {Region(*one[:3]) for one in second}
    return 2 * len(both) / (len(first) + len(second))


def _same(region: Region, others: Sequence[Region]) -> Region | None:
    """Return that of some regions which is the same one; None without."""
    shares = [(_overlap(region, one), one) for one in others if one.label == region.label]
    share, found = max(shares, default=(0.0, None))
    return found if share >= SAME else None


def _overlap(first: Region, second: Region) -> float:
    """Return the share of the union of two regions in which they overlap."""
    both = min(first.end, second.end) - max(first.start, second.start)
    if both <= 0:
        return 0.0
    return both / (max(first.end, second.end) - min(first.start, second.start))
