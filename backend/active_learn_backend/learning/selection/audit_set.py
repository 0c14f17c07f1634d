"""The audit set: tasks that only measure. Drawn once, up front, by a hash of their content.

A random share of the tasks *left* would be biased upward, because the hard tasks are labeled first.
The hash draws from all tasks alike, regardless of when they are labeled. Equal contents fall on the
same side, so that none both trains and measures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence

__all__ = ["in_audit", "mix", "place"]


def place(content_key: str, seed: int) -> float:
    """Return a task's place in [0, 1): uniform, and fixed by its content and the seed alone."""
    digest = hashlib.blake2b(f"{seed}/{content_key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def in_audit(content_key: str, share: float, seed: int) -> bool:
    """Return whether a task is in the audit set; a larger share includes all of a smaller one."""
    return place(content_key, seed) < share


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
