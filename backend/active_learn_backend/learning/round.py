"""One round, start to end: embed what is new, fit the head, rank, publish, flip."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from active_learn import ActiveSampler, LinearHead, Ranking

from ..errors import StoreError
from ..labelstudio.config import LabelingTask
from ..labelstudio.queue import Queue
from ..settings import Settings
from ..store import Project, QueueRow, Store, TaskRow
from .embedding import TaskEmbedder, project_folder
from .head import Head

__all__ = ["Round"]

log = logging.getLogger(__name__)

KEEP_HEADS = 20

FloatArray = npt.NDArray[np.float32]
Results = list[list[dict[str, Any]]]


@dataclass
class Round:
    """What one round needs; `run` does it.

    Attributes
    ----------
    load : callable
        Bytes of an image, from its address in a task.
    kept : callable
        The team's own predictions of a version: results by task id (``prelabel=keep:<version>``).
    still_ours : callable
        Raises when this worker has lost the project's lease: nothing is written after that.
    """

    project: Project
    task: LabelingTask
    store: Store
    queue: Queue
    settings: Settings
    load: Callable[[str], bytes]
    kept: Callable[[str], dict[int, list[dict[str, Any]]]]
    still_ours: Callable[[], None]
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self) -> dict[str, Any]:
        """Do the round.

        Returns
        -------
        dict
            The report that the store keeps: counts, seconds by stage, the version served now.
        """
        number = 1 + max([self.project.round, *self.queue.versions()])
        # Noted first: a round that dies after publishing must not share its version with the next.
        self.store.update(self.project.id, round=number)
        with self._timed("embed"):
            rows, embeddings = self._embed(self.store.tasks(self.project.id))
        labeled = np.array([row.label is not None for row in rows], dtype=bool)
        with self._timed("fit"):
            head = self._fit(rows, embeddings, labeled, number)
        with self._timed("rank"):
            order, ranking = self._rank(rows, embeddings, labeled, head)
        report = {
            "labeled": int(labeled.sum()),
            "unlabeled": int((~labeled).sum()),
            "version": "",
            "seconds": self.seconds,
        }
        if len(order):
            report["version"] = self._publish(number, rows, embeddings, head, order, ranking)
        self.store.finish_round(
            self.project.id,
            number,
            report,
            labels=self.project.pending_labels,
            tasks=self.project.pending_tasks,
        )
        return report

    # -- stages -------------------------------------------------------------------------------

    def _embed(self, rows: Sequence[TaskRow]) -> tuple[list[TaskRow], FloatArray]:
        """Embed all tasks; those whose content cannot be loaded are left out of this round."""
        embedder = TaskEmbedder(self.settings, self.project.id, self.task, self.load)
        embeddings, usable, failed = embedder.embed(
            [row.content for row in rows],
            [row.content_key for row in rows],
            checkpoint=self.still_ours,
        )
        for at, error in failed.items():
            log.warning(
                "project %s: task %s is left out: %s", self.project.id, rows[at].task_id, error
            )
        return [rows[at] for at in usable], embeddings

    def _fit(
        self,
        rows: Sequence[TaskRow],
        embeddings: FloatArray,
        labeled: npt.NDArray[np.bool_],
        number: int,
    ) -> Head | None:
        folder = project_folder(self.settings, self.project.id) / "heads"
        head = Head.fit(
            embeddings[labeled],
            [row.label for row in rows if row.label is not None],
            round=number,
            former=self._former_head(folder),
            random_state=self.settings.random_state,
        )
        if head is not None:
            head.save(folder)
            self.store.update(self.project.id, head_round=number)
            Head.prune(folder, KEEP_HEADS)
        return head

    def _former_head(self, folder: Path) -> Head | None:
        if not self.project.head_round:
            return None
        try:
            return Head.load(folder, self.project.head_round)
        except StoreError as error:
            log.warning("project %s: %s", self.project.id, error)
            return None

    def _rank(
        self,
        rows: Sequence[TaskRow],
        embeddings: FloatArray,
        labeled: npt.NDArray[np.bool_],
        head: Head | None,
    ) -> tuple[npt.NDArray[np.int64], Ranking | None]:
        """Choose what is published: positions in `rows`, in the order in which they are served."""
        skipped = np.array([row.skipped for row in rows], dtype=bool)
        # A task that somebody skipped may be left for others, but only when nothing else is.
        pool = np.flatnonzero(~labeled & ~skipped)
        spare = np.flatnonzero(~labeled & skipped)
        wanted = self.settings.budget + self.settings.reserve
        if not len(pool):
            return spare[:wanted], None
        known = embeddings[labeled]
        model = head.linear() if head else self._untrained(embeddings.shape[1])
        sampler = ActiveSampler(
            self.task.control.problem_type,
            model,
            min(self.settings.budget, len(pool)),
            precompute_covariance=self.settings.precompute_covariance,
            seed_fisher=self.settings.seed_fisher,
            labeled_data=known if len(known) else None,
            strategy=self.settings.strategy,
            random_state=self.settings.random_state,
        )
        ranking = sampler.rank(embeddings[pool], min(wanted, len(pool)))
        order = pool[ranking.indices]
        return np.concatenate([order, spare[: wanted - len(order)]]), ranking

    def _untrained(self, n_features: int) -> LinearHead:
        return LinearHead.untrained(len(self.task.control.labels), n_features)

    def _publish(
        self,
        number: int,
        rows: Sequence[TaskRow],
        embeddings: FloatArray,
        head: Head | None,
        order: npt.NDArray[np.int64],
        ranking: Ranking | None,
    ) -> str:
        chosen = [rows[at] for at in order]
        with self._timed("publish"):
            results = self._results(chosen, embeddings[order], head)
            self.still_ours()
            version = self.queue.publish(number, [row.task_id for row in chosen], results)
        with self._timed("flip"):
            self.still_ours()
            self.queue.flip(version)
            self.store.set_queue(self.project.id, version, self._queue_rows(chosen, ranking))
        return version

    def _results(
        self, chosen: Sequence[TaskRow], embeddings: FloatArray, head: Head | None
    ) -> Results:
        """Choose what annotators see in the queue, by the setting ``prelabel``."""
        if self.settings.keep_version is not None:
            kept = self.kept(self.settings.keep_version)
            return [kept.get(row.task_id, []) for row in chosen]
        if self.settings.prelabel == "none" or head is None:
            return [[] for _ in chosen]
        return [self.task.control.write(*answer) for answer in head.predict(embeddings)]

    def _queue_rows(self, chosen: Sequence[TaskRow], ranking: Ranking | None) -> list[QueueRow]:
        ranked = 0 if ranking is None else len(ranking.indices)
        return [
            QueueRow(
                row.task_id,
                rank,
                rank < self.settings.budget,
                float(ranking.uncertainty[rank]) if ranking and rank < ranked else 0.0,
                float(ranking.novelty[rank]) if ranking and rank < ranked else 0.0,
            )
            for rank, row in enumerate(chosen)
        ]

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - start, 3)
