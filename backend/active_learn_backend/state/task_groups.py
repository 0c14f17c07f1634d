"""Tasks that share a cause why something is amiss with them, and a line about them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["TaskGroup", "describe_groups", "group_by_cause"]

SHOWN = 3  # causes in a line


@dataclass(frozen=True)
class TaskGroup:
    """Tasks that share a cause.

    Attributes
    ----------
    n : int
        How many.
    task_id : int
        One of them.
    reason : str
        The cause, as it is in that one.
    """

    cause: str
    n: int
    task_id: int
    reason: str


def describe_groups(found: Sequence[TaskGroup], total: int | str, what: str) -> str:
    """Write in one line how many of a total of tasks there are, and why; empty if there is none."""
    if not found:
        return ""
    reasons = [
        f"{one.reason} ({one.n} tasks, such as {one.task_id})"
        if one.n > 1
        else f"{one.reason} (task {one.task_id})"
        for one in found[:SHOWN]
    ]
    more = sum(one.n for one in found[SHOWN:])
    rest = [f"other reasons ({more} tasks)"] if more else []
    return f"{sum(one.n for one in found)} of {total} tasks {what}: {'; '.join(reasons + rest)}"


def group_by_cause(tasks: Iterable[tuple[int, str, str]]) -> list[TaskGroup]:
    """Group tasks, each with its id, its cause and its reason; the most frequent cause first."""
    causes: dict[str, list[tuple[int, str]]] = {}
    for task_id, cause, reason in tasks:
        causes.setdefault(cause, []).append((task_id, reason))
    groups = [TaskGroup(cause, len(some), *some[0]) for cause, some in causes.items()]
    return sorted(groups, key=lambda group: -group.n)
