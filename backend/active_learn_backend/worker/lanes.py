"""The threads of a worker: one is kept for short rounds, so that long ones hold up nobody."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

__all__ = ["Lanes"]


class Lanes:
    """Runs turns of projects side by side, each project's one after the other.

    They share `threads` lanes, first come, first served. Projects with short rounds have one lane
    more for themselves: when large projects are at work in all others, a small one does not wait.

    Parameters
    ----------
    threads : int
        Turns at once of projects with long rounds.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._all = ThreadPoolExecutor(threads, "round")
        self._short = ThreadPoolExecutor(1, "round-short")
        self._under_way: dict[int, Future[None]] = {}
        self._in_all: set[Future[None]] = set()

    def close(self) -> list[Future[None]]:
        """Begin no turn any more; return those that were begun."""
        for pool in (self._all, self._short):
            pool.shutdown(wait=False, cancel_futures=True)
        return list(self._under_way.values())

    def is_busy(self, project_id: int) -> bool:
        """Return whether a turn of the project runs or waits for a lane."""
        turn = self._under_way.get(project_id)
        return turn is not None and not turn.done()

    def submit(self, project_id: int, turn: Callable[[int], None], *, is_long: bool) -> None:
        """Run a turn of a project as soon as a lane is free."""
        self._in_all = {turn for turn in self._in_all if not turn.done()}
        if is_long or len(self._in_all) < self._threads:
            self._under_way[project_id] = self._all.submit(turn, project_id)
            self._in_all.add(self._under_way[project_id])
        else:
            self._under_way[project_id] = self._short.submit(turn, project_id)
