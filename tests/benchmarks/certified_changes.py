"""Does the bound of `active-learn label` hold after the share of the audit set was changed?

    python tests/benchmarks/certified_changes.py --report backend/docs/automatic-labels.md

Digits, with the backend's own queues and heads. Two queues are labeled, the second one under
another share. After each a head is trained. The audit labels of both certify what is left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from active_learn import LinearHead
from active_learn.heads import TrainedHead, fit_head
from active_learn_backend.learning.engines.local import LocalEngine
from active_learn_backend.learning.quality.certification import certify
from active_learn_backend.learning.selection.queue_builder import choose
from active_learn_backend.learning.selection.snapshot import Snapshot
from active_learn_backend.settings import load_settings
from active_learn_backend.state.store import Project, TaskRow
from certified_labels import ACCURACIES, CONFIDENCE, NOISE
from real_data import digits
from report import measured_by, parse_options, publish
from threadpoolctl import threadpool_limits

PROJECT = Project(1, "secret", connected_at=0.0)


@dataclass(frozen=True)
class Part:
    """A share of the audit set, and how many tasks are labeled under it."""

    share: float
    labels: int


CASES = {
    "raised: 5, then 50 %": (Part(0.05, 120), Part(0.5, 300)),
    "lowered: 50, then 5 %": (Part(0.5, 300), Part(0.05, 120)),
}


def main() -> None:
    arguments = parse_options(__doc__, CASES, runs=500)
    rows = [
        "| share | wrong labels | audit labels | 90%: granted, broken | 95%: granted, broken "
        "| 98%: granted, broken |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in arguments.cases:
        for noise in NOISE:
            with threadpool_limits(1):
                runs = [one_run(CASES[name], noise, seed) for seed in range(arguments.runs)]
            audit, *found = np.array(runs).mean(axis=0)
            pairs = [
                f"{granted:.0%}, {broken:.1%}" for granted, broken in np.reshape(found, (-1, 2))
            ]
            rows.append(f"| {name} | {noise:.0%} | {audit:.0f} | {' | '.join(pairs)} |")
            print(rows[-1], flush=True)
    text = f"{measured_by()}, {arguments.runs} runs for each row.\n\n" + "\n".join(rows)
    publish("certified changes", text, arguments.report)


def one_run(parts: tuple[Part, ...], noise: float, seed: int) -> list[float]:
    """Return the number of audit labels, and for each accuracy what is granted, and if wrongly."""
    random, data = np.random.default_rng(seed), digits()
    order = random.permutation(len(data.X))
    vectors, truth = data.X[order], data.y[order].astype(str)
    given, wrong = truth.copy(), random.random(len(truth)) < noise
    given[wrong] = random.choice(np.unique(truth), wrong.sum())
    rows = [
        TaskRow(at, {}, f"{random.integers(2**63):032x}", None, False) for at in range(len(truth))
    ]
    head: TrainedHead | None = None
    clock = 1.0
    for part in parts:
        settings = load_settings(audit=part.share, budget=part.labels, reserve=1)
        taken = Snapshot.take(PROJECT, rows, vectors, settings)
        model = head.sampler_model() if head else LinearHead.untrained(10, vectors.shape[1])
        positions, queue = choose(taken, "classification", model, settings, LocalEngine().rank)
        for at, row in list(zip(positions.tolist(), queue, strict=True))[: part.labels]:
            clock += 1
            served = "audit" if row.audit else "queue"
            label = {"c": str(given[at])}
            rows[at] = replace(rows[at], labels=label, labeled_at=clock, served=served)
        taken = Snapshot.take(PROJECT, rows, vectors, settings)
        at = taken.training
        head = fit_head(
            "classification", np.unique(truth), vectors[at], list(given[at]), round=1, former=head
        )
    assert head is not None
    left, audit = np.flatnonzero(~taken.labeled), taken.measuring
    answers = head.predict(vectors)
    labels = np.array([answer.label for answer in answers])
    scores = np.array([answer.score for answer in answers], np.float64)
    found = [float(len(audit))]
    for accuracy in ACCURACIES:
        measured = scores[audit], labels[audit] != given[audit], scores[left]
        certificate = certify(*measured, accuracy, 1 - CONFIDENCE)
        granted = left[scores[left] >= (certificate.threshold if certificate else np.inf)]
        errors = (labels[granted] != truth[granted]).sum()
        found += [len(granted) / len(left), float(errors > (1 - accuracy) * len(granted))]
    return found


if __name__ == "__main__":
    main()
