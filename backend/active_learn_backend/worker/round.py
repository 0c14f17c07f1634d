"""One round, start to end: embed what is new, fit the head, rank, publish, flip, evaluate."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from active_learn import LinearHead
from active_learn.errors import StateError
from active_learn.heads import Head, TrainedHead, fit_head, head_name, load_head, prune_heads

from ..labeling.config import LabelingTask
from ..labelstudio.published_queue import Queue
from ..learning.embedding.embedder import TaskEmbedder
from ..learning.engines.base import Engine, ProjectTasks
from ..learning.engines.local import LocalEngine
from ..learning.quality.auto_strategy import is_due, is_of_concern, look_again, with_own_strategy
from ..learning.quality.backtest import LabeledSet
from ..learning.quality.cross_validation import cross_validate
from ..learning.quality.evaluation import audit_estimate, evaluate
from ..learning.quality.label_errors import find_label_errors, still_standing
from ..learning.quality.stability import compare_heads
from ..learning.selection.queue_builder import Snapshot, choose
from ..learning.selection.task_stream import TaskStream
from ..logs import bind
from ..settings import Settings
from ..state.folders import heads_folder, stream_folder
from ..state.store import Project, QueueRow, Store
from .advice_webhook import tell_if_changed

__all__ = ["Round"]

log = logging.getLogger(__name__)

# Cross-validation costs several fits: it is repeated when there are this many more labels.
EVALUATE_AGAIN = 1.1
TELL_EVERY = 1.0  # seconds between two notes of how far the embedding is

Result = list[dict[str, Any]]


@dataclass
class Round:
    """What one round needs; `run` does it.

    Attributes
    ----------
    settings : Settings
        The project's own over those of the environment.
    load : callable
        Bytes of an image, from its address in a task.
    external_predictions : callable
        The team's own predictions of a version: results by task id (``prelabel=keep:<version>``).
    check_lease : callable
        Raises when this worker has lost the project's lease: nothing is written after that.
    engine : Engine
        Where what is new is embedded, and the pool is ranked.
    """

    project: Project
    task: LabelingTask
    store: Store
    queue: Queue
    settings: Settings
    load: Callable[[str], bytes]
    external_predictions: Callable[[str], dict[int, Result]]
    check_lease: Callable[[], None]
    engine: Engine = field(default_factory=LocalEngine)
    seconds: dict[str, float] = field(default_factory=dict)
    _told: float = field(default=0.0, init=False)

    def run(self) -> dict[str, Any]:
        """Do the round.

        Returns
        -------
        dict
            The report that the store keeps: counts, seconds by stage, the version served now, the
            version of live answers, and what is known of its quality.
        """
        number = 1 + max([self.project.round, *self.queue.versions()])
        # Noted first: a round that dies after publishing must not share its version with the next.
        self.store.update(self.project.id, round=number)
        bind(round=number)
        with self._timed("embed"):
            embedder = TaskEmbedder(self.settings, self.project.id, self.task, self.load)
            snapshot = self._embed(embedder)
        with self._timed("fit"):
            head = embedder.fixed_head or self._head(snapshot, embedder.fingerprint, number)
            self._note_head(head)
        model = head.sampler_model() if head else self._untrained(snapshot)
        if isinstance(self.settings.budget, float):
            with self._timed("decide"):
                snapshot = self._decide(snapshot, model, embedder, number)
        last = self.store.last_round(self.project.id)
        with self._timed("rank"):
            settings = with_own_strategy(self.settings, last)
            problem_type = self.task.control.problem_type
            order, rows = choose(snapshot, problem_type, model, settings, self.engine.rank)
        report: dict[str, Any] = {
            "labeled": int(snapshot.labeled.sum()),
            "audit": len(snapshot.measuring),
            "unlabeled": int((~snapshot.labeled).sum()),
            "version": "",
            "head": head.version if head else "",
            "seconds": self.seconds,
        }
        if rows:
            answers = self._answers(rows, head, snapshot, order)
            report["version"] = self._publish(number, rows, answers)
        with self._timed("evaluate"):
            report |= self._evaluate(snapshot, head, last or {})
            reports = self.store.rounds(self.project.id)
            report["stability"] = self._compare(snapshot, head, reports)
        report["strategy"] = self._strategy(snapshot, head, last)
        self.store.finish_round(
            self.project.id,
            number,
            report,
            labels=self.project.pending_labels,
            tasks=self.project.pending_tasks,
        )
        tell_if_changed(self.settings, self.project.id, [*reports, {"round": number, **report}])
        return report

    # -- stages -------------------------------------------------------------------------------

    def _embed(self, embedder: TaskEmbedder) -> Snapshot:
        """Embed all tasks; those whose content cannot be loaded are left out of this round."""
        rows = self.store.tasks(self.project.id, contents=False)
        tasks = ProjectTasks(
            self.project,
            [row.task_id for row in rows],
            [row.content_key for row in rows],
            self.store,
        )
        failed = self.engine.fill(embedder, tasks, self._checkpoint)
        usable = [row for row in rows if row.content_key not in failed]
        for row in rows:
            if error := failed.get(row.content_key):
                log.warning(
                    "project %s: task %s is left out: %s", self.project.id, row.task_id, error
                )
        vectors = self.engine.vectors(embedder, [row.content_key for row in usable])
        return Snapshot.take(self.project, usable, vectors, self.settings)

    def _checkpoint(self, done: int, of: int) -> None:
        """Stop when the lease is lost; say now and then how far the embedding is."""
        self.check_lease()
        if time.monotonic() >= self._told + TELL_EVERY:
            self._tell(f"embed {done}/{of}")

    def _tell(self, activity: str) -> None:
        """Let the status page see what is done now."""
        self._told = time.monotonic()
        self.store.update(self.project.id, activity=activity)

    def _head(self, snapshot: Snapshot, encoder: str, number: int) -> TrainedHead | None:
        """Train the head of this round, or take the one that a person went back to."""
        former = self._former_head(encoder, snapshot.embeddings.shape[1])
        if self.project.pinned_round and former is not None:
            return former
        training = snapshot.training
        head = fit_head(
            self.task.control.problem_type,
            self.task.control.labels,
            snapshot.embeddings[training],
            snapshot.labels(training),
            round=number,
            former=former,
            class_weight=self.settings.class_weight,
            bounds=self.task.control.bounds,
            encoder=encoder,
            random_state=self.settings.random_state,
        )
        if head is not None:
            head.save(self._heads)
            self.store.update(self.project.id, head_round=number)
            prune_heads(self._heads, self.settings.keep_heads)
        return head

    @property
    def _heads(self) -> Path:
        return heads_folder(self.settings, self.project.id)

    def _former_head(self, encoder: str, n_features: int) -> TrainedHead | None:
        """Give the last head, where it can be read and answers for such embeddings."""
        if not self.project.head_round:
            return None
        try:
            head = load_head(self._heads, self.project.head_round)
        except StateError as error:
            log.warning("project %s: %s", self.project.id, error)
            if self.project.pinned_round:  # or the head that replaces it would stay pinned
                self.store.update(self.project.id, pinned_round=0)
            return None
        fits = head.problem_type == self.task.control.problem_type and head.reads(
            encoder, n_features
        )
        if not fits and self.project.pinned_round:
            log.warning(
                "project %s: %s was trained under another config or encoder; a new head is trained",
                self.project.id,
                head.version,
            )
            self.store.update(self.project.id, pinned_round=0)
        return head if fits else None

    def _note_head(self, head: Head | None) -> None:
        version = head.version if head else head_name(0)
        if version != self.project.head_version:
            self.store.update(self.project.id, head_version=version)

    def _untrained(self, snapshot: Snapshot) -> LinearHead:
        outputs = max(len(self.task.control.labels), 1)
        return LinearHead.untrained(outputs, snapshot.embeddings.shape[1])

    def _decide(
        self, snapshot: Snapshot, model: Any, embedder: TaskEmbedder, number: int
    ) -> Snapshot:
        """Let the stream decide on the new tasks; both its state and its word are kept or none."""
        stream = TaskStream(
            stream_folder(self.settings, self.project.id),
            self.project.stream_state,
            self.task.control.problem_type,
            model,
            self.settings,
            embedder.fingerprint,
        )
        decisions, name = stream.decide(snapshot, number)
        self.check_lease()
        self.store.note_decisions(self.project.id, decisions, name)
        stream.forget_older(name)
        return snapshot.with_decisions(decisions)

    def _publish(self, number: int, rows: Sequence[QueueRow], answers: Sequence[Result]) -> str:
        with self._timed("publish"):
            self.check_lease()
            version = self.queue.publish(number, [row.task_id for row in rows], answers)
        with self._timed("flip"):
            self.check_lease()
            self.queue.flip(version)
            self.store.set_queue(self.project.id, version, rows)
        return version

    def _answers(
        self, rows: Sequence[QueueRow], head: Head | None, snapshot: Snapshot, order: Any
    ) -> list[Result]:
        """Choose what annotators see in the queue, by the setting ``prelabel``.

        Tasks of the audit set show nothing: an answer that is there already sways people.
        """
        if self.settings.keep_version is not None:
            kept = self.external_predictions(self.settings.keep_version)
            shown = [kept.get(row.task_id, []) for row in rows]
        elif self.settings.prelabel == "none" or head is None or not self.task.control.can_prelabel:
            shown = [[] for _ in rows]
        else:
            answers = head.predict(snapshot.embeddings[order])
            shown = [self.task.control.write(one.label, one.score) for one in answers]
        return [[] if row.audit else one for row, one in zip(rows, shown, strict=True)]

    def _evaluate(
        self, snapshot: Snapshot, head: Head | None, last: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Estimate the quality of this round's head; cross-validation now and then only."""
        if head is None:
            return {"evaluation": {}}
        training, measuring = snapshot.training, snapshot.measuring
        audit_losses = head.losses(snapshot.embeddings[measuring], snapshot.labels(measuring))
        former = last.get("evaluation") or {}
        if former.get("labels") and len(training) < EVALUATE_AGAIN * former["labels"]:
            audit = audit_estimate(head.problem_type, audit_losses, len(snapshot.rows))
            standing = {row.task_id: row.label for row in snapshot.rows}
            return {
                "evaluation": former | {"audit": asdict(audit) if audit else None},
                "label_errors": still_standing(last.get("label_errors") or [], standing),
            }
        embeddings, labels = snapshot.embeddings[training], snapshot.labels(training)
        losses, errors = None, []
        if not isinstance(head, TrainedHead):
            losses = head.losses(embeddings, labels)
        elif held_out := cross_validate(
            head, embeddings, labels, random_state=self.settings.random_state
        ):
            ids = [snapshot.rows[at].task_id for at in training]
            losses, errors = held_out.losses, find_label_errors(head, held_out, labels, ids)
        both = np.concatenate([training, measuring])
        estimates = evaluate(
            head,
            losses,
            audit_losses,
            proposals=snapshot.proposals(both),
            order=snapshot.labeled_at(both),
            n_tasks=len(snapshot.rows),
        )
        return {"evaluation": estimates | {"labels": len(training)}, "label_errors": errors}

    def _compare(
        self, snapshot: Snapshot, head: Head | None, reports: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any] | None:
        """Compare with earlier heads, for the advice when to stop; a pinned head stands still."""
        if not isinstance(head, TrainedHead) or self.project.pinned_round:
            return None
        return compare_heads(head, snapshot, reports, self._heads)

    def _strategy(
        self, snapshot: Snapshot, head: Head | None, last: Mapping[str, Any] | None
    ) -> dict[str, Any] | None:
        """Say what `auto` stands for from now on; now and then by replays of the labels."""
        if not isinstance(head, TrainedHead) or not is_of_concern(self.settings):
            return None
        training = snapshot.training
        if not is_due(self.settings, last, len(training)):
            return (last or {}).get("strategy")
        with self._timed("compare"):
            vectors, labels = snapshot.embeddings[training], snapshot.labels(training)
            weight = self.settings.class_weight
            data = LabeledSet.of(self.task.control, vectors, labels, weight)
            current = with_own_strategy(self.settings, last).strategy
            return look_again(data, len(training), current, self.check_lease)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        self._tell(stage)
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - start, 3)
