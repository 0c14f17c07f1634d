"""Buffers changes on their way into the store, so that no webhook waits for a disk.

An annotator's submit waits for our webhook, and a commit can wait for a slow disk. A change that is
lost with the process costs only time: the poller finds it.
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from ..errors import StoreError
from ..logs import context
from ..state.store import Store

__all__ = ["ChangeBuffer"]

log = logging.getLogger(__name__)


@dataclass
class _Changes:
    """What changed in one project and is not in the store yet."""

    labels: int = 0
    others: bool = False


class ChangeBuffer:
    """Collects the projects that changed, and marks each once in the store, in the background.

    Its memory is bounded by the number of projects, however many events arrive.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changed: dict[int, _Changes] = {}
        self._news = threading.Condition()
        self._writing = False
        self._thread: threading.Thread | None = None

    def add(self, project_id: int, *, is_label: bool = False) -> None:
        """Add a changed project and return at once.

        Parameters
        ----------
        is_label : bool
            The change is one label, which may wait for others.
        """
        with self._news:
            changes = self._changed.setdefault(project_id, _Changes())
            changes.labels += is_label
            changes.others |= not is_label
            if self._thread is None or not self._thread.is_alive():
                # Started late: a thread does not survive the fork of a web process.
                self._thread = threading.Thread(target=self._run, name="changes", daemon=True)
                self._thread.start()
            self._news.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait until all changes are written; False if that takes more than `timeout` seconds."""
        with self._news:
            return self._news.wait_for(lambda: not self._changed and not self._writing, timeout)

    def _run(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: bool(self._changed))
                changed, self._changed = self._changed, {}
                self._writing = True
            for project_id, changes in changed.items():
                with context(project=project_id):
                    self._mark(project_id, changes)
            with self._news:
                self._writing = False
                self._news.notify_all()

    def _mark(self, project_id: int, changes: _Changes) -> None:
        try:
            labels = 0 if changes.others else changes.labels
            if not self._store.mark_changed(project_id, labels=labels):
                log.info("a change is ignored, it is not connected")
        except StoreError as error:
            log.warning("a change is left to the poller: %s", error)
