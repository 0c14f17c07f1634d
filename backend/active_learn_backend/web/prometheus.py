"""The metrics for Prometheus: of the project state, and of the requests to the web processes.

All processes share the state, and read it for each scrape: the numbers are the same whichever of
them answers. Requests are counted where they are answered; several web processes add them up
through files, in the folder that `active-learn serve` sets.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping

from prometheus_client import (
    CollectorRegistry,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, SummaryMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from ..errors import StoreError
from ..state.counters import EventCount, read_counters
from ..state.queue import count_open
from ..state.round_report import RoundReport
from ..state.rounds import last_round
from ..state.schema import WATCHED
from ..state.store import Project, Store
from ..state.unreadable import count_unreadable
from ..state.worker_heartbeats import WORKER_SILENT, worker_heartbeats

__all__ = ["SHARED_FOLDER", "StateCollector", "expose", "observe_request"]

#: Environment variable of prometheus_client: where several processes add up what they count.
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
LONGEST_NAME = 100  # characters of the name of a control
STATUSES = ("active", "paused", "paused_by_user", "disconnected")

disable_created_metrics()  # as with several processes, where there are none
_requests = Histogram(
    "active_learn_request_seconds",
    "Time to answer a request, by route and status.",
    ["route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=None,
)


def observe_request(route: str, status: int, seconds: float) -> None:
    """Count an answered request.

    Parameters
    ----------
    route : str
        The rule that matched, never the path of the request, which may be anything.
    """
    _requests.labels(route, str(status)).observe(seconds)


def expose(store: Store) -> bytes:
    """Write all metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(StateCollector(store))
    if os.environ.get(SHARED_FOLDER):
        MultiProcessCollector(registry)
    else:
        registry.register(_requests)
    return generate_latest(registry)


class StateCollector(Collector):
    """Reads the state anew for each scrape; labels are project ids, controls and fixed words."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterable[Metric]:
        """Return the present metrics."""
        up = GaugeMetricFamily("active_learn_store_up", "1 when the project state can be read.")
        try:
            families = [*self._of_workers(), *self._of_projects(), *self._of_counters()]
        except StoreError:
            up.add_metric([], 0)
            return [up]
        up.add_metric([], 1)
        return [up, *families]

    def _of_workers(self) -> Iterable[Metric]:
        now = time.time()
        alive = [
            seen for seen in worker_heartbeats(self._store).values() if now - seen < WORKER_SILENT
        ]
        yield GaugeMetricFamily("active_learn_workers", "Workers alive.", len(alive))

    def _of_projects(self) -> Iterable[Metric]:
        status = GaugeMetricFamily(
            "active_learn_project_status",
            "1 for the status that a project has.",
            labels=["project", "status"],
        )
        gauges = {
            name: GaugeMetricFamily(f"active_learn_{name}", words, labels=["project"])
            for name, words in PROJECT_GAUGES.items()
        }
        labeled = GaugeMetricFamily(
            "active_learn_control_labeled_tasks",
            "Tasks that a control is labeled in, as of the last finished round.",
            labels=["project", "control"],
        )
        quality = GaugeMetricFamily(
            "active_learn_control_quality",
            "Quality of the head of a control on the audit set, as of the last finished round.",
            labels=["project", "control", "metric"],
        )
        for project in self._store.projects():
            for one in STATUSES:
                status.add_metric([str(project.id), one], float(project.status == one))
            report = last_round(self._store, project.id)
            for name, value in self._values(project, report).items():
                gauges[name].add_metric([str(project.id)], value)
            for found in report.controls if report else ():
                names = [str(project.id), found.control[:LONGEST_NAME]]
                labeled.add_metric(names, found.labeled)
                if audit := found.evaluation.audit:
                    quality.add_metric([*names, audit.metric], audit.value)
        return [status, *gauges.values(), labeled, quality]

    def _values(self, project: Project, report: RoundReport | None) -> Mapping[str, float]:
        left, batch = count_open(self._store, project.id)
        values: dict[str, float] = {
            "queue_open_tasks": left,
            "queue_batch_tasks": batch,
            "pending_changes": project.change_seq - project.processed_seq,
            "pending_labels": project.pending_labels,
            "pending_tasks": project.pending_tasks,
            "round": project.round,
            "failing": float(bool(project.last_error)),
            "unreadable_contents": count_unreadable(self._store, project.id),
        }
        if project.status in WATCHED:
            values["lag_seconds"] = time.time() - (project.polled_at or project.connected_at)
        if report is not None:
            values["labeled_tasks"] = report.labeled
            values["unlabeled_tasks"] = report.unlabeled
        return values

    def _of_counters(self) -> Iterable[Metric]:
        rounds = SummaryMetricFamily(
            "active_learn_round_seconds", "Finished rounds, and their time.", labels=["project"]
        )
        stages = SummaryMetricFamily(
            "active_learn_round_stage_seconds",
            "Time of each stage of the rounds.",
            labels=["project", "stage"],
        )
        errors = CounterMetricFamily(
            "active_learn_errors", "Turns of a worker that ended with an error, by its class.",
            labels=["project", "kind"],
        )  # fmt: skip
        for one in read_counters(self._store):
            _add(one, rounds, stages, errors)
        return [rounds, stages, errors]


PROJECT_GAUGES = {
    "queue_open_tasks": "Tasks of the published batch that are not labeled yet.",
    "queue_batch_tasks": "Tasks of the published batch.",
    "pending_changes": "Changes noted that no worker has looked at.",
    "pending_labels": "Labels changed since the last round began.",
    "pending_tasks": "Tasks changed since the last round began.",
    "round": "Number of the last round that began.",
    "failing": "1 while a worker's last turn ended with an error.",
    "unreadable_contents": "Contents of tasks that could not be read; each is tried again.",
    "lag_seconds": "Time since Label Studio was last read; not of paused projects.",
    "labeled_tasks": "Labeled tasks, as of the last finished round.",
    "unlabeled_tasks": "Tasks without a label, as of the last finished round.",
}


def _add(
    counted: EventCount,
    rounds: SummaryMetricFamily,
    stages: SummaryMetricFamily,
    errors: CounterMetricFamily,
) -> None:
    project = str(counted.project_id)
    if counted.event == "round":
        rounds.add_metric([project], counted.count, counted.seconds)
    elif counted.event == "stage":
        stages.add_metric([project, counted.name], counted.count, counted.seconds)
    else:
        errors.add_metric([project, counted.name], counted.count)
