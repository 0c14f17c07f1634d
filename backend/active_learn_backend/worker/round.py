"""One round: embed what is new, fit the head, rank, publish the queue, switch to it, evaluate."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from active_learn.heads import PartTagger, TrainedHead
from active_learn.validation import Problem

from ..labeling.config import LabelingTask
from ..labeling.controls import ControlTag, RegionTag
from ..labeling.exact_text import exact_text
from ..labeling.regions import Region
from ..labelstudio.published_queue import Queue
from ..learning.embedding.embedder import TaskEmbedder
from ..learning.engines.base import Engine
from ..learning.engines.local import LocalEngine
from ..learning.heads import ControlHeads
from ..learning.quality.auto_strategy import (
    chooses_strategy,
    compare_strategies,
    comparison_is_due,
    with_chosen_strategy,
)
from ..learning.quality.automation import plan_automation
from ..learning.quality.backtest import LabeledSet
from ..learning.quality.control_report import report_control
from ..learning.quality.region_report import report_regions
from ..learning.quality.task_cost import measure_cost
from ..learning.regions.embedder import open_embedder
from ..learning.selection.queue_builder import choose
from ..learning.selection.queue_size import QueueSize
from ..learning.selection.snapshot import Snapshot
from ..learning.selection.task_stream import TaskStream
from ..logs import bind
from ..setting_types import kept_version, least_shown
from ..settings import Settings
from ..state.folders import stream_folder
from ..state.queue import set_queue
from ..state.round_report import ControlReport, RoundReport, StrategyChoice
from ..state.rounds import finish_round, last_round, read_rounds
from ..state.store import Project, QueueRow, Store
from ..state.task_table import read_task_table
from ..state.tasks import read_contents, record_decisions
from ..state.verification import open_sample
from .advice_webhook import notify_if_changed
from .heads_stage import HeadsStage
from .unreadable import Loads

__all__ = ["Round"]

log = logging.getLogger(__name__)

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
    wait_for_submit : callable
        Is called before the queue is written; waits until the next submit is farthest away.
    stored : dict of int to int
        Rounds whose rows Label Studio held when this one began, with their counts.
    sample : tuple of int
        Tasks of the open verification: they are served first, and show no answer.
    reports : list of RoundReport
        Of the former rounds, oldest first.
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
    wait_for_submit: Callable[[], None] = lambda: None
    seconds: dict[str, float] = field(default_factory=dict)
    stored: dict[int, int] = field(default_factory=dict, init=False)
    sample: tuple[int, ...] = field(default=(), init=False)
    reports: list[RoundReport] = field(default_factory=list, init=False)
    _reported_at: float = field(default=0.0, init=False)

    def run(self) -> RoundReport:
        """Run the round, and return the report that the store keeps."""
        self.stored = self.queue.versions()
        number = 1 + max([self.project.round, *self.stored])
        # Stored first: if a round dies after publishing, the next must not reuse its version.
        self.store.update(self.project.id, round=number)
        bind(round=number)
        with self._timed("embed"):
            embedder = open_embedder(self.settings, self.project.id, self.task, self.load)
            snapshot = self._embed(embedder)
        with self._timed("fit"):
            stage = HeadsStage(self.project, self.task, self.store, self.settings)
            heads = stage.run(snapshot, embedder, number)
        problem, model = heads.sampler_model()
        compared = None
        if isinstance(self.settings.budget, float):
            with self._timed("decide"):
                compared = self._compared(snapshot, heads)
                decided = self._decide(compared, problem, model, embedder, number)
                compared, snapshot = decided, replace(decided, embeddings=snapshot.embeddings)
        last = last_round(self.store, self.project.id)
        with self._timed("rank"):
            compared = compared or self._compared(snapshot, heads)
            settings = with_chosen_strategy(self.settings, last, at_random=heads.at_random)
            names = [control.from_name for control in self.task.controls]
            order, rows = choose(
                compared, problem, model, settings, self.engine.rank, self.size, names, self.sample
            )
        version = ""
        if rows:
            answers = self._answers(rows, heads, snapshot, order)
            version = self._publish(number, rows, answers, len(snapshot.rows))
        with self._timed("evaluate"):
            controls = [
                self._report(control, snapshot, heads, self.reports, stage.folder)
                for control in self.task.controls
            ]
            automation = plan_automation(snapshot, heads, last, len(self.project.looks or ()))
        regions = self.task.regions
        kind = heads.kind_of(regions[0]) if regions else None
        strategy = self._strategy(snapshot, heads, last)
        report = RoundReport(
            round=number,
            labeled=int(snapshot.labeled.sum()),
            unlabeled=int((~snapshot.labeled).sum()),
            audit=len(snapshot.measuring),
            queue_version=version,
            head_version=heads.version,
            seconds=self.seconds,
            controls=tuple(controls),
            strategy=strategy,
            audit_share=self.settings.audit,
            automation=automation,
            cost=measure_cost(snapshot, self.task, kind),
        )
        finish_round(
            self.store,
            self.project.id,
            report,
            labels=self.project.pending_labels,
            tasks=self.project.pending_tasks,
            requests=self.project.pending_requests + stage.requests_round,
        )
        notify_if_changed(self.settings, self.project.id, [*self.reports, report])
        return report

    # -- stages -------------------------------------------------------------------------------

    def _embed(self, embedder: TaskEmbedder) -> Snapshot:
        """Embed all tasks but those that a run labeled and those that cannot be loaded.

        Labels of an open verification neither train nor measure, either.
        """
        self.sample = open_sample(self.settings, self.project.id)
        verified = set(self.sample)
        tasks = read_task_table(self.store, self.project.id)
        left_out = tasks.where(  # they are neither learned, measured nor queued
            lambda row: row.automatic or (row.labels is not None and row.task_id in verified)
        )
        tasks = tasks.select(~left_out)
        loads = Loads(self.project, self.store, self.engine, embedder, self._checkpoint)
        usable = loads.readable(tasks)
        vectors = self.engine.vectors(embedder, usable.keys)
        self.reports = read_rounds(self.store, self.project.id)
        return Snapshot.take(self.project, usable, vectors, self.settings, self.reports)

    def _checkpoint(self, done: int, of: int) -> None:
        """Stop when the lease is lost; report now and then how far the embedding is."""
        self.check_lease()
        if time.monotonic() >= self._reported_at + REPORT_EVERY:
            self._report_activity(f"embed {done}/{of}")

    def _report_activity(self, activity: str) -> None:
        """Record the current stage, for the status page."""
        self._reported_at = time.monotonic()
        self.store.update(self.project.id, activity=activity)

    def _compared(self, snapshot: Snapshot, heads: ControlHeads) -> Snapshot:
        """Return the tasks with what selection compares them by."""
        if not self.task.regions:
            return snapshot
        return replace(snapshot, embeddings=heads.pooled_tasks(snapshot.embeddings))

    def _decide(
        self,
        snapshot: Snapshot,
        problem: Problem,
        model: Any,
        embedder: TaskEmbedder,
        number: int,
    ) -> Snapshot:
        """Let the stream decide on the new tasks; store its decisions and its state together."""
        stream = TaskStream(
            stream_folder(self.settings, self.project.id),
            self.project.stream_state,
            problem,
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
        self.wait_for_submit()
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
        self, rows: Sequence[QueueRow], heads: ControlHeads, snapshot: Snapshot, order: Any
    ) -> list[Result]:
        """Return what annotators see in the queue, by the setting ``prelabel``.

        Tasks of the audit set and of a verification show nothing: what is shown influences people.
        """
        least, kept = least_shown(self.settings.prelabel), kept_version(self.settings.prelabel)
        if kept is not None:
            external = self.external_predictions(kept)
            shown = [external.get(row.task_id, []) for row in rows]
        elif least is None:
            shown = [[] for _ in rows]
        else:
            stored = [control for control in self.task.controls if control.can_prelabel]
            contents = self._contents(rows) if self.task.regions else []
            answers = heads.answers(snapshot.embeddings[order], stored, least, contents)
            shown = [one.result for one in answers]
        blind = {row.task_id for row in rows if row.audit}.union(self.sample)
        return [[] if row.task_id in blind else one for row, one in zip(rows, shown, strict=True)]

    def _names(self, control: RegionTag, regions: Sequence[tuple[int, Region]]) -> list[str]:
        """Return for people what regions are: of a text what stands there, else where they lie."""
        field = next(one for one in self.task.fields if one.name == control.fields[0])
        if field.kind != "text":
            return [control.named(one.start, one.end) for _, one in regions]
        contents = read_contents(self.store, self.project.id, [task_id for task_id, _ in regions])
        return [
            exact_text(contents.get(task_id, {}).get(field.name), field.markup).between(*one[:2])
            for task_id, one in regions
        ]

    def _contents(self, rows: Sequence[QueueRow]) -> list[Mapping[str, Any]]:
        """Read what the encoder reads of the tasks of a queue."""
        ids = [row.task_id for row in rows]
        found = read_contents(self.store, self.project.id, ids)
        return [found.get(task_id, {}) for task_id in ids]

    def _report(
        self,
        control: ControlTag,
        snapshot: Snapshot,
        heads: ControlHeads,
        reports: Sequence[RoundReport],
        folder: Path,
    ) -> ControlReport:
        """Return what is found about a control."""
        name, head = control.from_name, heads.of(control)
        labeled = snapshot.of(name, heads.embedder.features(name, snapshot.embeddings))
        pinned = bool(self.project.pinned_round)
        if isinstance(control, RegionTag):
            names = partial(self._names, control)
            return report_regions(
                labeled, control, heads, reports, folder, pinned=pinned, names=names
            )
        assert not isinstance(head, PartTagger)
        return report_control(labeled, head, reports, folder, pinned=pinned)

    def _strategy(
        self, snapshot: Snapshot, heads: ControlHeads, last: RoundReport | None
    ) -> StrategyChoice | None:
        """Return what `auto` stands for from now on; now and then by replays of the labels.

        Replays are of one control: where several are learned, `auto` stays the library's.
        """
        control, *others = self.task.controls
        trained = isinstance(heads.of(control), TrainedHead) and not others
        if not trained or not chooses_strategy(self.settings):
            return None
        labeled = snapshot.of(control.from_name)
        training = labeled.training
        if not comparison_is_due(self.settings, last, len(training)):
            return last.strategy if last else None
        with self._timed("compare"):
            vectors, labels = labeled.embeddings[training], labeled.labels(training)
            data = LabeledSet.of(control, vectors, labels, self.settings.class_weight)
            current = with_chosen_strategy(self.settings, last).strategy
            return compare_strategies(data, len(training), current, self.check_lease)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        self._report_activity(stage)
        start = time.perf_counter()
        yield
        self.seconds[stage] = round(time.perf_counter() - start, 3)
