"""One round: embed what is new, fit the head, rank, publish the queue, switch to it, evaluate."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from active_learn import LinearHead
from active_learn.errors import StateError
from active_learn.heads import Head, TrainedHead, fit_head, load_head, prune_heads

from ..labeling.config import LabelingTask
from ..labelstudio.published_queue import Queue
from ..learning.embedding.embedder import TaskEmbedder
from ..learning.engines.base import Engine
from ..learning.engines.local import LocalEngine
from ..learning.quality.auto_strategy import (
    chooses_strategy,
    compare_strategies,
    comparison_is_due,
    with_chosen_strategy,
)
from ..learning.quality.backtest import LabeledSet
from ..learning.quality.cross_validation import cross_validate
from ..learning.quality.evaluation import audit_estimate, evaluate
from ..learning.quality.head_comparison import compare_heads
from ..learning.quality.label_errors import find_label_errors, unchanged_errors
from ..learning.selection.queue_builder import Snapshot, choose
from ..learning.selection.queue_size import QueueSize
from ..learning.selection.task_stream import TaskStream
from ..logs import bind
from ..settings import RANDOM_STATE, Settings
from ..state.folders import heads_folder, stream_folder
from ..state.queue import set_queue
from ..state.round_report import Evaluation, LabelError, RoundReport, Stability, StrategyChoice
from ..state.rounds import finish_round, last_round, read_rounds
from ..state.store import Project, QueueRow, Store
from ..state.tasks import read_tasks, record_decisions
from .advice_webhook import notify_if_changed
from .unreadable import Loads

__all__ = ["Round"]

log = logging.getLogger(__name__)

# Cross-validation costs several fits: it is repeated when there are this many more labels.
EVALUATE_AGAIN = 1.1
KEEP_HEADS = 20  # trained heads to go back to; a head of 77 classes and 384 features has 120 KB
REPORT_EVERY = 1.0  # seconds between two reports of the progress of the embedding

Result = list[dict[str, Any]]


@dataclass
class Round:
    """One round of a project, with all that it needs; `run` runs it.

    Attributes
    ----------
    settings : Settings
        The project's own over those of the environment.
    load : callable
        Returns the bytes of an image, from its address in a task.
    external_predictions : callable
        The team's own predictions of a version: results by task id (``prelabel=keep:<version>``).
    check_lease : callable
        Raises an error when this worker has lost the project's lease: nothing is written after.
    engine : Engine
        Embeds what is new, and ranks the pool.
    size : QueueSize, optional
        Length of the queue; by the settings alone when omitted.
    """

    project: Project
    task: LabelingTask
    store: Store
    queue: Queue
    settings: Settings
    load: Callable[..., bytes]
    external_predictions: Callable[[str], dict[int, Result]]
    check_lease: Callable[[], None]
    engine: Engine = field(default_factory=LocalEngine)
    size: QueueSize | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    _reported_at: float = field(default=0.0, init=False)

    def run(self) -> RoundReport:
        """Run the round, and return the report that the store keeps."""
        number = 1 + max([self.project.round, *self.queue.versions()])
        # Stored first: if a round dies after publishing, the next must not reuse its version.
        self.store.update(self.project.id, round=number)
        bind(round=number)
        with self._timed("embed"):
            embedder = TaskEmbedder(self.settings, self.project.id, self.task, self.load)
            snapshot = self._embed(embedder)
        with self._timed("fit"):
            head = embedder.fixed_head or self._head(snapshot, embedder.fingerprint, number)
            self._record_head(head)
        model = head.sampler_model() if head else self._untrained(snapshot)
        if isinstance(self.settings.budget, float):
            with self._timed("decide"):
                snapshot = self._decide(snapshot, model, embedder, number)
        last = last_round(self.store, self.project.id)
        with self._timed("rank"):
            settings = with_chosen_strategy(self.settings, last)
            problem_type = self.task.control.problem_type
            order, rows = choose(
                snapshot, problem_type, model, settings, self.engine.rank, self.size
            )
        version = ""
        if rows:
            answers = self._answers(rows, head, snapshot, order)
            version = self._publish(number, rows, answers, len(snapshot.rows))
        with self._timed("evaluate"):
            evaluation, label_errors = self._evaluate(snapshot, head, last)
            reports = read_rounds(self.store, self.project.id)
            stability = self._compare(snapshot, head, reports)
        strategy = self._strategy(snapshot, head, last)
        report = RoundReport(
            round=number,
            labeled=int(snapshot.labeled.sum()),
            unlabeled=int((~snapshot.labeled).sum()),
            audit=len(snapshot.measuring),
            queue_version=version,
            head_version=head.version if head else "",
            seconds=self.seconds,
            evaluation=evaluation,
            label_errors=label_errors,
            stability=stability,
            strategy=strategy,
        )
        finish_round(
            self.store,
            self.project.id,
            report,
            labels=self.project.pending_labels,
            tasks=self.project.pending_tasks,
        )
        notify_if_changed(self.settings, self.project.id, [*reports, report])
        return report

    # -- stages -------------------------------------------------------------------------------

    def _embed(self, embedder: TaskEmbedder) -> Snapshot:
        """Embed all tasks; leave out those whose content cannot be loaded."""
        rows = read_tasks(self.store, self.project.id, contents=False)
        loads = Loads(self.project, self.store, self.engine, embedder, self._checkpoint)
        usable = loads.readable(rows)
        vectors = self.engine.vectors(embedder, [row.content_key for row in usable])
        return Snapshot.take(self.project, usable, vectors, self.settings)

    def _checkpoint(self, done: int, of: int) -> None:
        """Stop when the lease is lost; report now and then how far the embedding is."""
        self.check_lease()
        if time.monotonic() >= self._reported_at + REPORT_EVERY:
            self._report_activity(f"embed {done}/{of}")

    def _report_activity(self, activity: str) -> None:
        """Record the current stage, for the status page."""
        self._reported_at = time.monotonic()
        self.store.update(self.project.id, activity=activity)

    def _head(self, snapshot: Snapshot, encoder: str, number: int) -> TrainedHead | None:
        """Train the head, or return the one that a person went back to; None without classes."""
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
            random_state=RANDOM_STATE,
        )
        if head is not None:
            head.save(self._heads)
        return head

    @property
    def _heads(self) -> Path:
        return heads_folder(self.settings, self.project.id)

    def _former_head(self, encoder: str, n_features: int) -> TrainedHead | None:
        """Load the last head; None if it cannot be read, or was made for other embeddings."""
        if not self.project.head_round:
            return None
        try:
            head = load_head(self._heads, self.project.head_round)
        except StateError as error:
            log.warning("%s", error)
            if self.project.pinned_round:  # or the head that replaces it would stay pinned
                self.store.update(self.project.id, pinned_round=0)
            return None
        control = self.task.control
        fits = control.learned and head.problem_type == control.problem_type
        fits = fits and head.reads(encoder, n_features)
        if not fits and self.project.pinned_round:
            log.warning(
                "%s was trained under another config or encoder; a new head is trained",
                head.version,
            )
            self.store.update(self.project.id, pinned_round=0)
        return head if fits else None

    def _record_head(self, head: Head | None) -> None:
        """Record what gives the live answers from now on: a trained head, an own model, or none."""
        if isinstance(head, TrainedHead):
            self.store.update(self.project.id, head_round=head.round, model_version="")
            prune_heads(self._heads, KEEP_HEADS, also=[head.round])
        elif head is not None:
            self.store.update(self.project.id, model_version=head.version)
        else:
            self.store.update(self.project.id, head_round=0, model_version="")

    def _untrained(self, snapshot: Snapshot) -> LinearHead:
        outputs = max(len(self.task.control.labels), 1)
        return LinearHead.untrained(outputs, snapshot.embeddings.shape[1])

    def _decide(
        self, snapshot: Snapshot, model: Any, embedder: TaskEmbedder, number: int
    ) -> Snapshot:
        """Let the stream decide on the new tasks; store its decisions and its state together."""
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
        record_decisions(self.store, self.project.id, decisions, name)
        stream.forget_older(name)
        return snapshot.with_decisions(decisions)

    def _publish(
        self, number: int, rows: Sequence[QueueRow], answers: Sequence[Result], n_tasks: int
    ) -> str:
        with self._timed("publish"):
            ids = [row.task_id for row in rows]
            version = self.queue.publish(
                number, ids, answers, n_tasks=n_tasks, check=self.check_lease
            )
        with self._timed("flip"):
            self.queue.flip(version, self.check_lease)
            set_queue(self.store, self.project.id, version, rows)
        return version

    def _answers(
        self, rows: Sequence[QueueRow], head: Head | None, snapshot: Snapshot, order: Any
    ) -> list[Result]:
        """Return what annotators see in the queue, by the setting ``prelabel``.

        Tasks of the audit set show nothing: an answer that is shown influences people.
        """
        if self.settings.keep_version is not None:
            external = self.external_predictions(self.settings.keep_version)
            shown = [external.get(row.task_id, []) for row in rows]
        elif self.settings.prelabel == "none" or head is None or not self.task.control.can_prelabel:
            shown = [[] for _ in rows]
        else:
            answers = head.predict(snapshot.embeddings[order])
            shown = [self.task.control.write(one.label, one.score) for one in answers]
        return [[] if row.audit else one for row, one in zip(rows, shown, strict=True)]

    def _evaluate(
        self, snapshot: Snapshot, head: Head | None, last: RoundReport | None
    ) -> tuple[Evaluation, tuple[LabelError, ...]]:
        """Estimate the quality of this round's head, and find label errors.

        Cross-validation is repeated now and then only; between, its results are carried over.
        """
        if head is None:
            return Evaluation(), ()
        training, measuring = snapshot.training, snapshot.measuring
        audit_losses = head.losses(snapshot.embeddings[measuring], snapshot.labels(measuring))
        if last is not None and len(training) < EVALUATE_AGAIN * last.evaluation.labels:
            audit = audit_estimate(head.problem_type, audit_losses, len(snapshot.rows))
            current = {row.task_id: row.label for row in snapshot.rows}
            errors = unchanged_errors(last.label_errors, current)
            return replace(last.evaluation, audit=audit), tuple(errors)
        embeddings, labels = snapshot.embeddings[training], snapshot.labels(training)
        losses, errors = None, []
        if not isinstance(head, TrainedHead):
            losses = head.losses(embeddings, labels)
        elif held_out := cross_validate(head, embeddings, labels, random_state=RANDOM_STATE):
            ids = [snapshot.rows[at].task_id for at in training]
            losses, errors = held_out.losses, find_label_errors(head, held_out, labels, ids)
        both = np.concatenate([training, measuring])
        evaluation = evaluate(
            head,
            losses,
            audit_losses,
            selection_probabilities=snapshot.selection_probabilities(both),
            order=snapshot.labeled_at(both),
            n_tasks=len(snapshot.rows),
        )
        return replace(evaluation, labels=len(training)), tuple(errors)

    def _compare(
        self, snapshot: Snapshot, head: Head | None, reports: Sequence[RoundReport]
    ) -> Stability | None:
        """Compare with earlier heads, to advise when to stop; a pinned head does not change."""
        if not isinstance(head, TrainedHead) or self.project.pinned_round:
            return None
        return compare_heads(head, snapshot, reports, self._heads)

    def _strategy(
        self, snapshot: Snapshot, head: Head | None, last: RoundReport | None
    ) -> StrategyChoice | None:
        """Return what `auto` stands for from now on; now and then by replays of the labels."""
        if not isinstance(head, TrainedHead) or not chooses_strategy(self.settings):
            return None
        training = snapshot.training
        if not comparison_is_due(self.settings, last, len(training)):
            return last.strategy if last else None
        with self._timed("compare"):
            vectors, labels = snapshot.embeddings[training], snapshot.labels(training)
            weight = self.settings.class_weight
            data = LabeledSet.of(self.task.control, vectors, labels, weight)
            current = with_chosen_strategy(self.settings, last).strategy
            return compare_strategies(data, len(training), current, self.check_lease)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        self._report_activity(stage)
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - start, 3)
