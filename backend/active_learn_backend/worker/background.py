"""What a worker does beside the rounds: it trains models, and watches those that MODEL names.

Each is one thread at a time, for all projects, so that annotators hardly notice. It never touches
a queue: it makes a version ready, and the next round of the project takes it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from active_learn.errors import ActiveLearnError

from ..errors import StoreError, WorkerStoppingError
from ..logs import context
from ..state.store import Project
from .model_update import ModelUpdates
from .training import train, training_is_due
from .work import Work, alone

__all__ = ["Background"]

log = logging.getLogger(__name__)

LOOK_EVERY = 1.0, 5.0  # seconds: POLL_INTERVAL within these bounds
LATER = 60.0  # seconds after an error until a project is looked at again
END_SECONDS = 3.0  # that what runs has to break off


@dataclass
class _Slot:
    """Runs one kind of work, for one project at a time."""

    name: str
    thread: threading.Thread | None = None
    not_before: dict[int, float] = field(default_factory=dict)

    def is_free_for(self, project: Project, now: float) -> bool:
        """Return whether it may run for a project now."""
        free = self.thread is None or not self.thread.is_alive()
        return free and now >= self.not_before.get(project.id, 0.0)

    def start(self, work: Work, project: Project, run: Callable[[Project], None]) -> None:
        """Run it in a thread, which an error of the project does not harm."""

        def target() -> None:
            with context(project=project.id):
                try:
                    with alone(work.settings, project.id, self.name):
                        run(project)
                except (BlockingIOError, WorkerStoppingError):
                    # Another worker is at it, or takes it up.
                    self.not_before[project.id] = time.monotonic() + LATER
                except (ActiveLearnError, OSError) as error:
                    log.warning("%s: %s", self.name, error)
                    self.not_before[project.id] = time.monotonic() + LATER
                except Exception:
                    log.exception("%s: internal error", self.name)
                    self.not_before[project.id] = time.monotonic() + LATER

        self.thread = threading.Thread(target=target, name=self.name, daemon=True)
        self.thread.start()


class Background:
    """The work of a worker beside the rounds.

    Parameters
    ----------
    work : Work
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        least, most = LOOK_EVERY
        self._every = min(max(work.settings.poll_interval, least), most)
        self._look_at = 0.0
        self._updates = ModelUpdates(work)
        self._training, self._updating = _Slot("training"), _Slot("model")

    def look(self) -> None:
        """Begin what is due, now and then; called all the time."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + self._every
        try:
            for project in self._work.store.projects():
                if project.status == "active" and project.label_config:
                    self._look(project, now)
        except StoreError as error:
            log.error("%s; trying again", error)

    def _look(self, project: Project, now: float) -> None:
        if self._updating.is_free_for(project, now):
            step = self._updates.due(project)
            if step is not None:
                self._updating.start(self._work, project, step)
        if self._training.is_free_for(project, now) and training_is_due(self._work, project):
            self._training.start(self._work, project, partial(train, self._work))

    def close(self) -> None:
        """Wait until what runs has broken off, but not for long."""
        deadline = time.monotonic() + END_SECONDS
        for slot in (self._training, self._updating):
            if slot.thread is not None:
                slot.thread.join(max(deadline - time.monotonic(), 0.0))
