"""How often does the interval of the audit estimate cover the true accuracy, whatever people do?

    python tests/benchmarks/audit_coverage.py --report backend/docs/quality.md

Queues are built, and audit labels read, by the backend's own code. The ranking takes the tasks that
are wrong likeliest first, which is the worst case. The head is fixed, so that the truth is known:
each task has a probability with which its answer is wrong, one in five a high one. Its score is one
minus that probability: it is calibrated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np
from active_learn import LinearHead, Ranking
from active_learn_backend.labeling.annotations import resolve_label
from active_learn_backend.learning.quality.audit_sample import audit_sample
from active_learn_backend.learning.quality.certification import certify
from active_learn_backend.learning.quality.evaluation import audit_estimate
from active_learn_backend.learning.quality.intervals import mean_interval
from active_learn_backend.learning.selection.queue_builder import choose
from active_learn_backend.learning.selection.snapshot import ControlSnapshot, Snapshot
from active_learn_backend.settings import Settings, load_settings
from active_learn_backend.state.round_report import RoundReport
from active_learn_backend.state.store import Project, TaskRow
from report import measured_by, parse_options, publish
from threadpoolctl import threadpool_limits

N = 1000
BATCH = 50
ANNOTATORS = 3
MISTAKES = 0.1  # of one annotator
CERTIFIED = 0.9  # accuracy that is certified
CONTROL = "c"
PROJECT = Project(1, "secret", connected_at=0.0)
MODEL = LinearHead.untrained(2, 2)

Chance = Callable[[float], float]  # of a task of some difficulty


@cache
def settings_of(share: float) -> Settings:
    return load_settings(audit=share, budget=BATCH, reserve=1)


@dataclass
class Simulation:
    """One project whose head is fixed."""

    random: np.random.Generator
    rows: list[TaskRow] = field(default_factory=list)
    difficulty: list[float] = field(default_factory=list)
    wrong: list[bool] = field(default_factory=list)  # by the label that people give or would give
    skipped: list[bool] = field(default_factory=list)  # whether people skip it or would
    reports: list[RoundReport] = field(default_factory=list)
    share: float = 0.0
    clock: float = 1.0

    def add(self, count: int, hardness: float = 1.0, skip: Chance | None = None) -> None:
        """Import tasks, of which people will skip some."""
        for hard in self.random.random(count) < 0.2:
            chance = hardness * self.random.uniform(*((0.3, 0.7) if hard else (0, 0.1)))
            key = f"{self.random.integers(2**63):032x}"
            self.rows.append(TaskRow(len(self.rows), {}, key, None, False))
            self.difficulty.append(min(chance, 0.95))
            self.wrong.append(bool(self.random.random() < self.difficulty[-1]))
            self.skipped.append(bool(skip and self.random.random() < skip(chance)))

    def run(self, share: float, rounds: int) -> None:
        """Label some queues in their order."""
        self.share = share
        for _ in range(rounds):
            taken, settings = self.snapshot(), settings_of(share)
            positions, queue = choose(taken, "classification", MODEL, settings, self._hardest)
            self.clock += 1
            report = RoundReport(
                len(self.reports), 0, audit_share=share, finished_at=self.clock
            )  # fmt: skip
            self.reports.append(report)
            for at, row in list(zip(positions.tolist(), queue, strict=True))[:BATCH]:
                if self.skipped[at]:
                    self.rows[at] = replace(self.rows[at], skipped=True)
                else:
                    self.label(at, "audit" if row.audit else "queue")

    def label(self, at: int, served: str | None) -> None:
        self.clock += 1
        label = {CONTROL: "a"}
        row = replace(self.rows[at], labels=label, labeled_at=self.clock, served=served)
        self.rows[at] = row

    def label_outside(self, count: int) -> None:
        """Label easy tasks in the Data Manager."""
        easy = [at for at, row in enumerate(self.rows) if not row.labels and not self._is_hard(at)]
        for at in self.random.choice(easy, count, replace=False):
            self.label(int(at), None)

    def delete(self, chance: Chance) -> None:
        kept = [at for at, d in enumerate(self.difficulty) if self.random.random() >= chance(d)]
        self.rows = [replace(self.rows[at], task_id=place) for place, at in enumerate(kept)]
        self.difficulty = [self.difficulty[at] for at in kept]
        self.wrong = [self.wrong[at] for at in kept]
        self.skipped = [self.skipped[at] for at in kept]

    def disagree(self) -> None:
        """Let three people label each task, who are wrong now and then."""
        for at, wrong in enumerate(self.wrong):
            mistakes = self.random.random(ANNOTATORS) < MISTAKES
            votes = [
                {"id": n, "created_at": f"{n}", "result": ["wrong" if one else "right"]}
                for n, one in enumerate(mistakes)
            ]
            if resolve_label(votes, lambda result: result[0]) == "wrong":
                self.wrong[at] = not wrong  # of two labels

    def snapshot(self) -> Snapshot:
        vectors = np.zeros((len(self.rows), 2), np.float32)
        return Snapshot.take(PROJECT, self.rows, vectors, settings_of(self.share), self.reports)

    def measured(self) -> ControlSnapshot:
        return self.snapshot().of(CONTROL)

    @property
    def truth(self) -> float:
        """Return the accuracy on all tasks that people do not skip."""
        counts = ~np.array(self.skipped)
        return 1 - float(np.array(self.wrong)[counts].mean())

    def _is_hard(self, at: int) -> bool:
        return self.difficulty[at] >= 0.3

    def _hardest(self, _sampler: Any, _vectors: Any, pool: Any, n: int) -> Ranking:
        order = np.argsort(-np.array(self.difficulty)[pool], kind="stable")[:n]
        zeros = np.zeros(len(order))
        return Ranking(order, zeros, zeros, zeros)


def constant(one: Simulation) -> None:
    one.add(N)
    one.run(0.1, 12)


def raised(one: Simulation) -> None:
    one.add(N)
    one.run(0.05, 6)
    one.run(0.3, 4)


def raised_late(one: Simulation) -> None:
    one.add(N)
    one.run(0.05, 10)
    one.run(0.5, 5)


def lowered(one: Simulation) -> None:
    one.add(N)
    one.run(0.3, 6)
    one.run(0.05, 6)


def lowered_and_raised(one: Simulation) -> None:
    one.add(N)
    one.run(0.3, 3)
    one.run(0.05, 4)
    one.run(0.3, 4)


def imports(one: Simulation) -> None:
    one.add(N // 2)
    one.run(0.2, 5)
    one.add(N // 2, hardness=1.3)
    one.run(0.2, 6)


def outside(one: Simulation) -> None:
    one.add(N)
    for _ in range(5):
        one.run(0.2, 2)
        one.label_outside(50)


def skips(one: Simulation) -> None:
    one.add(N, skip=lambda difficulty: 0.8 * difficulty)
    one.run(0.2, 10)


def overlap(one: Simulation) -> None:
    one.add(N)
    one.disagree()
    one.run(0.2, 10)


def deleted(one: Simulation) -> None:
    one.add(N)
    one.run(0.2, 6)
    one.delete(lambda difficulty: 0.1 + difficulty)
    one.run(0.2, 4)


CASES: dict[str, Callable[[Simulation], None]] = {
    "share 10 %": constant,
    "raised: 5, then 30 %": raised,
    "raised late: 5, then 50 %": raised_late,
    "lowered: 30, then 5 %": lowered,
    "30, then 5, then 30 %": lowered_and_raised,
    "harder tasks imported in the middle": imports,
    "a third labeled from outside, easy tasks": outside,
    "hard tasks skipped": skips,
    "three annotators, wrong in 10 %": overlap,
    "hard tasks deleted": deleted,
}


def main() -> None:
    arguments = parse_options(__doc__, CASES, runs=400)
    rows = [
        "| what happens | audit labels | covered | width, points | all audit labels: covered "
        "| with the score as control variate: covered | width, points "
        "| certified to be 90 % right | bound broken |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name in arguments.cases:
        with threadpool_limits(1):
            found = np.array([one_run(CASES[name], seed) for seed in range(arguments.runs)])
        n, covered, width, pooled, control, control_width, granted, broken = found.mean(axis=0)
        rows.append(
            f"| {name} | {n:.0f} | {covered:.1%} | {100 * width:.1f} | {pooled:.1%} "
            f"| {control:.1%} | {100 * control_width:.1f} | {granted:.0%} | {broken:.1%} |"
        )
        print(rows[-1], flush=True)
    text = f"{measured_by()}, {arguments.runs} runs of each.\n\n" + "\n".join(rows)
    publish("audit coverage", text, arguments.report)


def one_run(case: Callable[[Simulation], None], seed: int) -> list[float]:
    """Return the number of labels, and for each interval whether it covers and how wide it is."""
    one = Simulation(np.random.default_rng(seed))
    case(one)
    taken, truth = one.measured(), one.truth
    sample, population = audit_sample(taken, one.reports)
    wrong, score = np.array(one.wrong, np.float64), 1 - np.array(one.difficulty)
    ours = audit_estimate("classification", wrong[sample], population)
    pooled = audit_estimate("classification", wrong[taken.measuring], taken.population)
    low, high = with_control_variate(wrong[sample], 1 - score[sample], 1 - score)
    assert ours is not None
    assert pooled is not None
    return [
        len(sample),
        ours.low <= truth <= ours.high,
        ours.high - ours.low,
        pooled.low <= truth <= pooled.high,
        1 - high <= truth <= 1 - low,
        high - low,
        *certified(taken, wrong, score),
    ]


def certified(taken: ControlSnapshot, wrong: np.ndarray, score: np.ndarray) -> tuple[float, bool]:
    """Return the share of the unlabeled tasks that is certified, and whether that is wrong."""
    left, audit = np.flatnonzero(~taken.labeled & ~taken.skipped), taken.measuring
    found = certify(score[audit], wrong[audit] > 0, score[left], CERTIFIED, 0.05)
    if found is None:
        return 0.0, False
    granted = left[score[left] >= found.threshold]
    return len(granted) / len(left), bool(wrong[granted].mean() > 1 - CERTIFIED)


def with_control_variate(
    wrong: np.ndarray, expected: np.ndarray, of_all: np.ndarray
) -> tuple[float, float]:
    """Return the interval of the share of wrong answers, by the errors that scores let expect.

    Prediction-powered inference with a fitted weight (Angelopoulos, Duchi & Zrnic: PPI++, 2023);
    its interval is that of a share at the effective number of labels (Korn & Graubard, 1998).
    """
    n, centered = len(wrong), expected - expected.mean()
    weight = float(centered @ wrong) / max(float(centered @ centered), 1e-12)
    share = float(wrong.mean() + weight * (of_all.mean() - expected.mean()))
    residuals = wrong - wrong.mean() - weight * centered
    variance = float(residuals @ residuals) / max(n - 2, 1) / n
    return mean_interval("classification", min(max(share, 0.0), 1.0), variance, n)[0]


if __name__ == "__main__":
    main()
