"""Rows of former queues: they stay while people submit, and are deleted when nobody does.

With 50,000 old rows Label Studio draws and takes a task about as fast as with none, though a page
of 100 tasks has 1.3 MB instead of 0.1. Deleting a row makes a submit wait that comes meanwhile, and
so does changing it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ..labelstudio.published_queue import Queue, RetirementStep

__all__ = ["MOST_OLD_ROWS", "QUIET_POLLS", "Retirement"]

QUIET_POLLS = 30  # a project is quiet when nothing changed for as many poll intervals
MOST_OLD_ROWS = 50_000  # more are deleted even while people submit
STEPS_AT_ONCE = 6  # rows between two checks of what else is due
# Seconds between two rows. A submit that waits for SQLite tries again every 0.1 s at most, and
# would miss a shorter pause again and again.
PAUSE = 0.1


@dataclass
class Retirement:
    """The former queues of one project.

    Attributes
    ----------
    rounds : dict of int to int, or None
        The rounds whose rows are left, with their counts; None: not read yet.
    """

    rounds: dict[int, int] | None = None
    _steps: deque[RetirementStep] = field(default_factory=deque)

    def forget(self) -> None:
        """Read the former queues again before the next row is deleted."""
        self.rounds = None
        self._steps.clear()

    @property
    def forced(self) -> bool:
        """Whether so many rows are left that some are deleted even while people submit."""
        return sum((self.rounds or {}).values()) > MOST_OLD_ROWS

    def is_due(self, *, quiet: bool) -> bool:
        """Return whether rows are to be deleted now, or counted."""
        return self.rounds is None or self.forced or (quiet and bool(self.rounds))

    def count(self, queue: Queue, served: int | None) -> None:
        """Count the rows of former queues, where that was not done yet."""
        if self.rounds is None:
            self.begin(queue.versions(), served)

    def begin(self, stored: Mapping[int, int], served: int | None) -> None:
        """Begin anew with the rounds whose rows are stored, all but the one that is served."""
        self.rounds = {number: rows for number, rows in stored.items() if number != served}
        self._steps.clear()

    def delete_some(
        self,
        queue: Queue,
        check: Callable[[], None],
        wait: Callable[[float], object],
        *,
        quiet: bool,
    ) -> None:
        """Delete a few rows, the oldest first, as long as that is due.

        Parameters
        ----------
        check : callable
            Is called right before each row; raises an error when none may be deleted any more.
        wait : callable
            Waits for some seconds, less when the worker stops.
        """
        for _ in range(STEPS_AT_ONCE):
            if not self.rounds or not self.is_due(quiet=quiet):
                return
            oldest = min(self.rounds)
            if not self._steps:
                self._steps.extend(queue.retirements({oldest: self.rounds[oldest]}))
            check()
            queue.retire(self._steps[0])
            step = self._steps.popleft()
            if step.row_id is None:
                del self.rounds[oldest]
            else:
                self.rounds[oldest] -= 1
            wait(PAUSE)
