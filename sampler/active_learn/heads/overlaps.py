"""How runs of two layers overlap, and which of them count together.

It imports nothing of ours: an exported head of spans bears a copy of it.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any, Literal

__all__ = ["Relation", "join_runs", "relation_between"]

#: Of two intervals that overlap: the second lies within the first, is the same, or crosses it.
Relation = Literal["within", "same", "crossing"]


def relation_between(first: Sequence[Any], second: Sequence[Any]) -> Relation | None:
    """Return how an interval lies to another one; None if they are apart, or it is around it.

    Parameters
    ----------
    first, second : sequence
        Each begins with its start and what is behind its end.
    """
    (start, stop), (other_start, other_stop) = first[:2], second[:2]
    if (start, stop) == (other_start, other_stop):
        return "same"
    if start <= other_start and other_stop <= stop:
        return "within"
    around = other_start <= start and stop <= other_stop
    apart = other_stop <= start or stop <= other_start
    return None if around or apart else "crossing"


def join_runs(
    outer: Sequence[Any], inner: Sequence[Any], relations: Container[Relation]
) -> list[Any]:
    """Return the runs of an outer layer with those of an inner one that lie to them as learned.

    Of a region that another one crosses the outer layer has only the rest: where the inner layer
    has all of it, that counts.

    Parameters
    ----------
    outer, inner : sequences of (start, stop, tag, score)
    relations : container of Relation
        Those in which regions of different labels were seen.
    """
    further = [
        run
        for run in inner
        if any(one[2] != run[2] and relation_between(one, run) in relations for one in outer)
    ]
    whole = [
        one
        for one in outer
        if not any(one[2] == run[2] and one[0] < run[1] and run[0] < one[1] for run in further)
    ]
    return sorted([*whole, *further])
