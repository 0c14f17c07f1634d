"""Buffers changes on their way into the store, so that no webhook waits for a disk.

An annotator's submit waits for our webhook, and a commit can wait for a slow disk. A change that is
lost with the process costs only time: the poller finds it.
"""

from __future__ import annotations

import logging
import threading

from ..errors import StoreError
from ..logs import context
from ..state.store import Store

__all__ = ["ChangeBuffer"]

log = logging.getLogger(__name__)


class ChangeBuffer:
    """Collects the projects that changed, and marks each once in the store, in the background.

    Its memory is bounded by the number of projects, however many events arrive.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changed: set[int] = set()
        self._news = threading.Condition()
        self._writing = False
        self._thread: threading.Thread | None = None

    def add(self, project_id: int) -> None:
        """Add a changed project and return at once."""
        with self._news:
            self._changed.add(project_id)
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
                changed, self._changed = self._changed, set()
                self._writing = True
            for project_id in changed:
                with context(project=project_id):
                    self._mark(project_id)
            with self._news:
                self._writing = False
                self._news.notify_all()

    def _mark(self, project_id: int) -> None:
        try:
            if not self._store.mark_changed(project_id):
                log.info("a change is ignored, it is not connected")
        except StoreError as error:
            log.warning("a change is left to the poller: %s", error)
