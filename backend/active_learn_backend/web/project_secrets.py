"""The secrets of projects, remembered for a while, so that no webhook waits for a database.

An annotator's submit waits for our webhook. The secret of a project does not change while it is
connected.
"""

from __future__ import annotations

import hmac
import time

from ..state.store import Store

__all__ = ["ProjectSecrets", "same"]

REMEMBERED = 60.0  # seconds; a project that was forgotten here takes no events after that


class ProjectSecrets:
    """Compares what a request bears with the secret of its project.

    Its memory is bounded by the number of projects.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[int, tuple[str, float]] = {}

    def fits(self, project_id: int, given: str) -> bool:
        """Check whether `given` is a project's secret; a project that is not known has none.

        Raises
        ------
        StoreError
            When the secret is not remembered and cannot be read.
        """
        secret, until = self._known.get(project_id, ("", 0.0))
        now = time.monotonic()
        if secret and now < until and same(given, secret):
            return True
        project = self._store.project(project_id)
        if project is None:
            self._known.pop(project_id, None)
            return False
        self._known[project_id] = (project.webhook_secret, now + REMEMBERED)
        return same(given, project.webhook_secret)


def same(given: str, expected: str) -> bool:
    """Compare two secrets in a time that tells nothing about them."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())
