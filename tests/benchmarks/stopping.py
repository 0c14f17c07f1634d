"""When does the advice say stop, and what accuracy is lost by following it?

    python tests/benchmarks/stopping.py --cases digits      # a minute
    python tests/benchmarks/stopping.py --report FILE       # a Markdown file with marks for it

Projects are labeled by the backend's own parts as rounds do it: audit tasks mixed in, head trained
from the former one, heads kept on disk and compared. The held-out tasks are for this table alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from active_learn import LinearHead
from active_learn.heads import TrainedHead, fit_head, prune_heads
from active_learn_backend.learning.engines.local import LocalEngine
from active_learn_backend.learning.quality.evaluation import audit_estimate
from active_learn_backend.learning.quality.head_comparison import compare_heads
from active_learn_backend.learning.quality.head_versions import KEEP_VERSIONS
from active_learn_backend.learning.quality.stopping import advise, verdict
from active_learn_backend.learning.selection import queue_builder, snapshot
from active_learn_backend.learning.selection.queue_builder import choose
from active_learn_backend.learning.selection.snapshot import Snapshot
from active_learn_backend.settings import Settings, load_settings
from active_learn_backend.state.round_report import ControlReport, Evaluation, RoundReport
from active_learn_backend.state.schema import Project as ProjectState
from active_learn_backend.state.schema import TaskRow
from active_learn_backend.state.task_table import TaskTable
from labels_needed import split
from real_data import DATASETS, Data, Missing
from report import measured_by, parse_options, publish
from threadpoolctl import threadpool_limits

CONTROL = "c"
CRITERIA = ("stabilizing predictions", "performance convergence", "both")


@dataclass(frozen=True)
class Case:
    """Data, new labels per round, and the labels after which to give up."""

    load: Callable[[], Data]
    step: int
    most: int


CASES = {
    "digits": Case(DATASETS["digits"], 10, 1000),
    "MNIST": Case(DATASETS["mnist"], 20, 1000),
    "banking77": Case(DATASETS["banking77"], 40, 2800),
    "STS-B": Case(DATASETS["stsb"], 40, 1600),
}


class Project:
    """One project as the rounds see it, without servers."""

    def __init__(self, case: Case, data: Data, seed: int, folder: Path) -> None:
        pool, test = split(data, seed)
        self.case, self.folder, self.problem_type = case, folder, data.problem_type
        classify = data.problem_type == "classification"
        truth = [f"class {label}" if classify else float(label) for label in data.y]
        self.offered = sorted({str(label) for label in truth}) if classify else []
        self.pool, self.truth = data.X[pool], [truth[at] for at in pool]
        self.test, self.test_truth = data.X[test], [truth[at] for at in test]
        self.settings: Settings = load_settings()
        rows = [TaskRow(at, {}, f"{seed:016x}{at:016x}", None, False) for at in range(len(pool))]
        # Another audit set and order for each replicate.
        queue_builder.RANDOM_STATE = snapshot.RANDOM_STATE = seed
        project = ProjectState(1, "secret", connected_at=0.0)
        self.snapshot = Snapshot.take(project, rows, self.pool, self.settings)
        self.reports: list[RoundReport] = []
        self.head: TrainedHead | None = None
        self.outcome: list[tuple[int, float, dict[str, bool]]] = []

    def run(self) -> list[tuple[int, float, dict[str, bool]]]:
        """Label to the end: labels, test loss and what was advised, after each round."""
        n_labeled = 0
        while n_labeled < min(self.case.most, len(self.pool) - self.case.step):
            number = len(self.reports) + 1
            n_labeled = self._label(number)
            self._round(number, n_labeled)
        return self.outcome

    def _label(self, number: int) -> int:
        model = (
            self.head.sampler_model()
            if self.head
            else LinearHead.untrained(max(len(self.offered), 1), self.pool.shape[1])
        )
        order, _ = choose(
            self.snapshot, self.problem_type, model, self.settings, LocalEngine().rank
        )
        rows = list(self.snapshot.rows)
        for at in order[: self.case.step]:
            rows[at] = replace(rows[at], labels={CONTROL: self.truth[at]}, labeled_at=float(number))
        self.snapshot = replace(self.snapshot, rows=TaskTable.of(rows))
        return int(self.snapshot.labeled.sum())

    def _round(self, number: int, n_labeled: int) -> None:
        labeled = self.snapshot.of(CONTROL)
        training, measuring = labeled.training, labeled.measuring
        self.head = fit_head(
            self.problem_type,  # type: ignore[arg-type]
            self.offered,
            self.pool[training],
            labeled.labels(training),
            round=number,
            former=self.head,
        )
        if self.head is None:
            self.reports.append(RoundReport(number, n_labeled))
            return
        losses = self.head.losses(self.pool[measuring], labeled.labels(measuring))
        audit = audit_estimate(self.head.problem_type, losses, len(self.pool))
        self.reports.append(
            RoundReport(
                number,
                n_labeled,
                head_version=self.head.version,
                controls=(
                    ControlReport(
                        CONTROL,
                        n_labeled,
                        len(measuring),
                        Evaluation(audit),
                        stability=compare_heads(self.head, labeled, self.reports, self.folder),
                    ),
                ),
            )
        )
        self.head.save(self.folder)
        prune_heads(self.folder, KEEP_VERSIONS)
        advice = advise(self.reports)
        said = {one.criterion: bool(one.says_stop) for one in advice} | {"both": verdict(advice)}
        loss = float(self.head.losses(self.test, self.test_truth).mean())
        self.outcome.append((n_labeled, loss, said))


def line(title: str, criterion: str, runs: list[list[Any]], numbers: bool) -> str:
    """Write one row: labels at the first advice to stop, and what stopping there costs."""
    stops, lost, end = [], [], []
    for run in runs:
        stop = next(((n, loss) for n, loss, said in run if said[criterion]), None)
        last = float(np.mean([loss for _, loss, _ in run[-3:]]))
        end.append(last)
        if stop is not None:
            stops.append(stop[0])
            lost.append(stop[1] - last if not numbers else stop[1] / last - 1)
    most = runs[0][-1][0]
    final = f"{np.mean(end):.3f}" if numbers else f"{100 * (1 - np.mean(end)):.1f} %"
    if not stops:
        return f"| {title} | {criterion} | not within {most} labels | - | {final} at {most} |"
    seen = f"{np.mean(stops):.0f} ({min(stops)} to {max(stops)})"
    if len(stops) < len(runs):
        seen += f", {len(runs) - len(stops)} of {len(runs)} never"
    unit = "%" if numbers else "points"
    return (
        f"| {title} | {criterion} | {seen} | {100 * np.mean(lost):.1f} {unit} "
        f"({100 * max(lost):.1f} at most) | {final} at {most} |"
    )


def main() -> None:
    arguments = parse_options(__doc__, CASES, seeds=3)
    torch.set_num_threads(1)
    threadpool_limits(1)
    lines = [
        f"{measured_by()}, "
        f"{arguments.seeds} seeds, default settings: mean (range) of the labels at the first "
        "advice to stop, and what is lost against going on to the end, on held-out tasks: points "
        "of accuracy, or per cent of the mean absolute error.",
        "",
        "| data | criterion | labels at stop | lost | at the end |",
        "|---|---|---|---|---|",
    ]
    for title in arguments.cases:
        try:
            data = CASES[title].load()
        except Missing as missing:
            print(f"{title}: left out, {missing}")
            continue
        runs = []
        for seed in range(arguments.seeds):
            with tempfile.TemporaryDirectory() as folder:
                runs.append(Project(CASES[title], data, seed, Path(folder)).run())
        numbers = data.problem_type == "regression"
        lines += [line(title, criterion, runs, numbers) for criterion in CRITERIA]
        print("\n".join(lines[-len(CRITERIA) :]), flush=True)
    publish("stopping", "\n".join(lines), arguments.report)


if __name__ == "__main__":
    main()
