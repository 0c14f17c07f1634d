"""Loads the contents of tasks; remembers what cannot be loaded, and tries it again later.

A round tries each new content once, and hosts that do not answer only for a few seconds. What
failed is tried again after the queue was published, so it is never in the way of what can be read.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ..learning.embedding.embedder import TaskEmbedder
from ..learning.engines.base import Checkpoint, Engine, Failures, ProjectTasks
from ..state.store import Project, Store
from ..state.task_groups import group_by_cause
from ..state.task_table import TaskTable, read_task_table
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

    def readable(self, tasks: TaskTable) -> TaskTable:
        """Embed what is new among some tasks; return those that can be read."""
        known = unreadable_keys(self.store, self.project.id)
        tasks = tasks.select(~tasks.keys.among(known))
        failed = self._load(tasks, tried=())  # none of them was known to fail
        bad = tasks.keys.among(failed)
        self._tell(tasks.select(bad), failed, len(tasks))
        return tasks.select(~bad)

    def retry(self, keys: Sequence[str]) -> int:
        """Try some contents again, and return how many can be read now."""
        wanted = set(keys)
        tasks = read_task_table(self.store, self.project.id)
        tasks = tasks.select(tasks.keys.among(wanted))
        tried = set(tasks.keys)
        return len(tried) - len(self._load(tasks, tried))

    def _load(self, tasks: TaskTable, tried: Collection[str]) -> Failures:
        of_project = ProjectTasks(self.project, tasks.ids, tasks.keys, self.store)
        failed = self.engine.fill(self.embedder, of_project, self.checkpoint)
        record_loads(self.store, self.project.id, tried, failed)
        return failed

    @staticmethod
    def _tell(bad: TaskTable, failed: Failures, of: int) -> None:
        """Log one line for each cause."""
        errors = ((row.task_id, failed[row.content_key]) for row in bad)
        for group in group_by_cause((task, one.cause, str(one)) for task, one in errors):
            log.warning("%s", describe_unreadable([group], of))
