"""The audit set: tasks that only measure. Drawn once, up front, by a hash of their content.

A random share of the tasks *left* would be biased upward, because the hard tasks are labeled first.
The hash draws from all tasks alike, regardless of when they are labeled. Equal contents fall on the
same side, so that none both trains and measures.

A label measures only if our queue served its task as one of the audit set, or passed it because a
person had labeled it from outside. A greater share later makes audit tasks of what is not labeled
yet, never of what was picked because it is hard.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from ...state.content_keys import ContentKeys, KeyedColumn
from ...state.round_report import RoundReport
from ...state.schema import TaskRow

__all__ = ["least_shares", "mix", "places", "places_of", "served_as_audit", "taken_from_outside"]

NEIGHBORS = 10  # labels before one and after it, of which most must come from the queue


def places(keys: Iterable[str], seed: int) -> npt.NDArray[np.float64]:
    """Return the places of tasks in [0, 1): uniform, fixed by their content and the seed alone.

    Those below a share are the audit set; a larger share includes all of a smaller one.
    """
    start = hashlib.blake2b(f"{seed}/".encode(), digest_size=8)
    digests = bytearray()  # of a million tasks 8 MB, where a list of them takes 140
    for key in keys:
        digest = start.copy()
        digest.update(key.encode())
        digests += digest.digest()
    return np.frombuffer(digests, ">u8").astype(np.float64) / 2.0**64


@lru_cache(maxsize=64)
def places_of(project_id: int, seed: int) -> KeyedColumn:
    """Return the column of the places of a project's tasks that this process keeps."""
    return KeyedColumn(lambda keys: places(ContentKeys(keys), seed))


def served_as_audit(rows: Sequence[TaskRow], since: float) -> list[bool]:
    """Return for each task whether its label measures.

    A person who labels in the Data Manager meets audit tasks of the queue too, but chooses them. So
    a label counts only if most of those given about the same time were of tasks in the queue.

    Parameters
    ----------
    since : float
        When the project was connected, in seconds since 1970.
    """
    found = [False] * len(rows)
    labeled = [
        at
        for at, row in enumerate(rows)
        if row.labels is not None and row.labeled_at is not None and row.labeled_at >= since
        and row.run is None  # a label that a run wrote and a person changed is not blind
    ]  # fmt: skip
    labeled.sort(key=lambda at: (rows[at].labeled_at, rows[at].task_id))
    outside = [0, *accumulate(rows[at].served is None for at in labeled)]
    for place, at in enumerate(labeled):
        if rows[at].served == "audit":
            first, end = max(0, place - NEIGHBORS), min(len(labeled), place + NEIGHBORS + 1)
            found[at] = 2 * (outside[end] - outside[first]) < end - first
    return found


def taken_from_outside(
    rows: Sequence[TaskRow],
    places: npt.NDArray[np.float64],
    measures: Sequence[bool],
    since: float,
    reports: Sequence[RoundReport],
) -> npt.NDArray[np.bool_]:
    """Return which labels from outside of our queue are of tasks that were drawn for the audit set.

    They train nothing. Where people label easy tasks from outside, the audit tasks that are left
    for the queue are hard ones; both together are a sample of all tasks.

    Parameters
    ----------
    places : array of shape (n,)
        Of the tasks, see `places`.
    measures : sequence of bool
        See `served_as_audit`.
    since : float
        When the project was connected, in seconds since 1970.
    reports : sequence of RoundReport
        Of the former rounds, oldest first. What was labeled before the first of them trains.
    """
    outside = np.array(
        [
            row.labels is not None
            and row.served != "queue"
            and row.run is None
            and not measured
            and (row.labeled_at or 0.0) >= since
            for row, measured in zip(rows, measures, strict=True)
        ],
        dtype=bool,
    )
    least = least_shares(reports, np.array([row.labeled_at or 0.0 for row in rows], np.float64))
    drawn: npt.NDArray[np.bool_] = outside & (places < least) & np.isfinite(least)
    return drawn


def least_shares(
    reports: Sequence[RoundReport], times: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the least share of the audit set in all rounds before some times; inf before all."""
    known = [one for one in reports if one.audit_share is not None]
    shares = np.array([one.audit_share for one in known], np.float64)
    least = np.minimum.accumulate(np.concatenate([[np.inf], shares]))
    found: npt.NDArray[np.float64] = least[
        np.searchsorted([one.finished_at for one in known], times)
    ]
    return found


def mix(
    chosen: Sequence[int],
    audit: Sequence[int],
    *,
    n_rows: int,
    share: float,
    served: int,
    served_audit: int,
) -> Iterator[tuple[int, bool]]:
    """Mix audit tasks into a queue, so that they are a share of all that is ever served.

    Parameters
    ----------
    chosen, audit : sequences of int
        Tasks in the order in which they are to be served.
    n_rows : int
        Length of the queue, while there are that many.
    served, served_audit : int
        Tasks labeled so far, and how many of them are in the audit set.

    Yields
    ------
    (int, bool)
        A task, and whether it is in the audit set.
    """
    actives, audits = iter(chosen), iter(audit)
    for row in range(n_rows):
        due = share * (served + row + 1) - served_audit >= 1
        pair = _first(
            ((audits, True), (actives, False)) if due else ((actives, False), (audits, True))
        )
        if pair is None:
            return
        served_audit += pair[1]
        yield pair


def _first(sources: Iterable[tuple[Iterator[int], bool]]) -> tuple[int, bool] | None:
    for source, is_audit in sources:
        for task in source:
            return task, is_audit
    return None
