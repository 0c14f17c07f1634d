"""Changes on their way into the store, so that no webhook waits for a disk.

An annotator's submit waits for our webhook, and a commit can wait for a slow disk. A note that is
lost with the process costs only time: the poller finds the change.
"""

from __future__ import annotations

import logging
import threading

from ..errors import StoreError
from ..state.store import Store

__all__ = ["ChangeNotes"]

log = logging.getLogger(__name__)


class ChangeNotes:
    """Gathers the projects that changed, and marks each once, in the background.

    Memory is bounded by the number of projects, whatever the number of events.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changed: set[int] = set()
        self._news = threading.Condition()
        self._writing = False
        self._thread: threading.Thread | None = None

    def note(self, project_id: int) -> None:
        """Note a change and return at once."""
        with self._news:
            self._changed.add(project_id)
            if self._thread is None or not self._thread.is_alive():
                # Started late: a thread does not survive the fork of a web process.
                self._thread = threading.Thread(target=self._run, name="changes", daemon=True)
                self._thread.start()
            self._news.notify_all()

    def flush(self, timeout: float) -> bool:
        """Wait until all notes are written; False when that takes longer than `timeout` seconds."""
        with self._news:
            return self._news.wait_for(lambda: not self._changed and not self._writing, timeout)

    def _run(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: bool(self._changed))
                changed, self._changed = self._changed, set()
                self._writing = True
            for project_id in changed:
                self._mark(project_id)
            with self._news:
                self._writing = False
                self._news.notify_all()

    def _mark(self, project_id: int) -> None:
        try:
            if not self._store.mark_changed(project_id):
                log.info("project %s: a change is ignored, it is not connected", project_id)
        except StoreError as error:
            log.warning("project %s: a change is left to the poller: %s", project_id, error)
