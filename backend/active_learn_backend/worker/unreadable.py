"""Loads the contents of tasks; remembers what cannot be loaded, and tries it again later.

A round tries each new content once, and hosts that do not answer only for a few seconds. What
failed is tried again after the queue was published, so it is never in the way of what can be read.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from ..learning.embedding.embedder import TaskEmbedder
from ..learning.engines.base import Checkpoint, Engine, Failures, ProjectTasks
from ..state.store import Project, Store, TaskRow
from ..state.task_groups import group_by_cause
from ..state.tasks import read_tasks
from ..state.unreadable import describe_unreadable, record_loads, unreadable_keys

__all__ = ["Loads"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Loads:
    """Loads and embeds the contents of a project.

    Attributes
    ----------
    checkpoint : callable
        See `Engine.fill`.
    """

    project: Project
    store: Store
    engine: Engine
    embedder: TaskEmbedder
    checkpoint: Checkpoint

    def readable(self, rows: Sequence[TaskRow]) -> list[TaskRow]:
        """Embed what is new among some tasks; return those that can be read."""
        known = unreadable_keys(self.store, self.project.id)
        rows = [row for row in rows if row.content_key not in known]
        failed = self._load(rows)
        self._tell(rows, failed)
        return [row for row in rows if row.content_key not in failed]

    def retry(self, keys: Sequence[str]) -> int:
        """Try some contents again, and return how many can be read now."""
        wanted = set(keys)
        rows = read_tasks(self.store, self.project.id, contents=False)
        rows = [row for row in rows if row.content_key in wanted]
        return len({row.content_key for row in rows}) - len(self._load(rows))

    def _load(self, rows: Sequence[TaskRow]) -> Failures:
        ids, keys = [row.task_id for row in rows], [row.content_key for row in rows]
        tasks = ProjectTasks(self.project, ids, keys, self.store)
        failed = self.engine.fill(self.embedder, tasks, self.checkpoint)
        record_loads(self.store, self.project.id, keys, failed)
        return failed

    @staticmethod
    def _tell(rows: Sequence[TaskRow], failed: Failures) -> None:
        """Log one line for each cause."""
        errors = ((row.task_id, failed.get(row.content_key)) for row in rows)
        for group in group_by_cause((task, one.cause, str(one)) for task, one in errors if one):
            log.warning("%s", describe_unreadable([group], len(rows)))
