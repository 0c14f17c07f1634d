"""How often a worker looks at a project, and what it remembers of it between two turns."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from ..state.schedule import Schedule
from ..state.store import Project
from .retirement import QUIET_POLLS, Retirement

__all__ = ["Pace"]

DEBOUNCE = 0.3  # seconds that a burst of webhooks is gathered for
MOST_BACKOFF = 30.0
LONG_ROUND = 3.0  # seconds
# What a worker writes makes a submit wait that comes meanwhile, so it looks when the next is due.
JUST_SUBMITTED = 0.5  # seconds
WRITE_SECONDS = 1.0  # that Label Studio takes for a queue and the switch to it
AT_WORK = 10.0  # seconds since the last submit
# A project that changed nothing for a while is read ever less often: after a tenth of that time.
QUIET_SHARE = 0.1
# The longest such pause, in poll intervals. A webhook ends it at once; without one it is shorter.
LONGEST_PAUSE = {"push": 30.0, "pull": 12.0}


@dataclass
class Pace:
    """What a worker remembers of a project between two turns; its loss costs only time.

    Attributes
    ----------
    active_at : float
        When a change was last seen, by the clock `time.monotonic`.
    noticed_at : float or None
        When the web process's note of a change was first seen that is not processed yet.
    changed_at, gap : float
        When the web process last noted a change, and how long after the one before.
    labels_needed : int
        Labels that make the next round due: fewer are not read at once. Each read costs Label
        Studio as much as a submit.
    not_before : float
        When the project may have its next turn, after an error.
    round_seconds : float or None
        How long the last round took; None before the first.
    check_model_at : float
        When our model in Label Studio has to be looked at again.
    members : int
        People of Label Studio's organization when they were last counted.
    count_members_at : float
        When they have to be counted again.
    has_retried : bool
        Whether this worker has tried again what could not be read.
    """

    active_at: float = field(default_factory=time.monotonic)
    noticed_at: float | None = None
    changed_at: float = -math.inf
    gap: float = math.inf
    labels_needed: int = 1
    failures: int = 0
    not_before: float = 0.0
    check_model_at: float = 0.0
    members: int = 0
    count_members_at: float = 0.0
    has_retried: bool = False
    round_seconds: float | None = None
    retirement: Retirement = field(default_factory=Retirement)
    _change_seq: int | None = None

    def look(self, project: Schedule) -> None:
        """Remember when the web process notes changes; called at each look at the schedule."""
        if self._change_seq not in (None, project.change_seq):
            now = time.monotonic()
            self.changed_at, self.gap = now, now - self.changed_at
        self._change_seq = project.change_seq

    @property
    def submit_is_near(self) -> bool:
        """Whether the next submit is to be expected within the time that a queue takes."""
        since = time.monotonic() - self.changed_at
        return JUST_SUBMITTED <= since < AT_WORK and self.gap - since < WRITE_SECONDS

    @property
    def is_long(self) -> bool:
        """Whether a round of the project takes long, or may do so: it is new."""
        return self.round_seconds is None or self.round_seconds > LONG_ROUND

    def is_quiet(self, poll_interval: float) -> bool:
        """Return whether nothing changed for so long that nobody seems to be at work."""
        return time.monotonic() - self.active_at >= QUIET_POLLS * poll_interval

    def poll_pause(self, mode: str, poll_interval: float) -> float:
        """Return the seconds between two looks at the project, when no webhook comes."""
        quiet_for = time.monotonic() - self.active_at
        longest = LONGEST_PAUSE[mode] * poll_interval
        return min(max(QUIET_SHARE * quiet_for, poll_interval), longest)

    def is_due(self, project: Schedule, poll_interval: float) -> bool:
        """Return whether the project has to have a turn now."""
        now = time.monotonic()
        if now < self.not_before:
            return False
        if project.change_seq > project.processed_seq:
            self.noticed_at = self.noticed_at or now
            urgent = self._is_urgent(project, poll_interval)
            if now - self.noticed_at >= (DEBOUNCE if urgent else poll_interval):
                return True
        if self.retirement.is_due(quiet=self.is_quiet(poll_interval)):
            return True
        return self.poll_is_due(project, poll_interval)

    def _is_urgent(self, project: Schedule, poll_interval: float) -> bool:
        """Return whether the noted changes have to be read now: a few labels may wait for more.

        Not the first ones after a quiet time: rows are deleted then, until somebody is back.
        """
        labels = project.change_seq - project.processed_seq
        is_other = project.urgent_seq > project.processed_seq
        return is_other or labels >= self.labels_needed or self.is_quiet(poll_interval)

    def poll_is_due(self, project: Schedule | Project, poll_interval: float) -> bool:
        """Return whether the project has to be read, whatever the web process noted."""
        if self.retirement.rounds is None:  # a new worker, or another's project
            return True
        pause = self.poll_pause(project.mode, poll_interval)
        if self.retirement.rounds and self.is_quiet(poll_interval):
            pause = poll_interval  # rows are being deleted: see soon that somebody is back
        return abs(time.time() - project.polled_at) >= pause

    def record_failure(self) -> None:
        """Put the next turn off, longer after each failure."""
        self.failures += 1
        self.not_before = time.monotonic() + min(2.0 ** min(self.failures, 10) / 2, MOST_BACKOFF)
