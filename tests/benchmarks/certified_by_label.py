"""How often is a bound of `active-learn label --by label` broken, and how much does it grant?

    python tests/benchmarks/certified_by_label.py --report backend/docs/automatic-labels.md

As `certified_labels.py`, for tasks of several labels: of a digit, whether it is even, below five,
round, or a multiple of three; of a question to a bank, what it is about. A wrong label is the set
of another task. A run counts as broken if any bound is: that of a label, or of a label of the tasks
that are certified with all labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from active_learn import ActiveSampler, LinearHead
from active_learn.heads import TrainedHead, fit_head
from active_learn_backend.learning.quality.certification import certify
from active_learn_backend.learning.quality.certified_decisions import CertifiedDecisions
from active_learn_backend.learning.quality.decisions import Decision, Decisions
from certified_labels import ACCURACIES, CONFIDENCE, NOISE, POOL
from real_data import DATASETS, rows_of
from report import measured_by, parse_options, publish

DIGITS = {
    "even": {0, 2, 4, 6, 8},
    "below five": {0, 1, 2, 3, 4},
    "round": {0, 6, 8, 9},
    "multiple of three": {0, 3, 6, 9},
}


@dataclass(frozen=True)
class Case:
    """Labels that train and that measure, and which classes bear each label."""

    labels: int
    audit: int
    bear: dict[str, set[int]]


CASES = {"digits": Case(300, 400, DIGITS), "mnist": Case(300, 400, DIGITS)}


def main() -> None:
    arguments = parse_options(__doc__, CASES, runs=500)
    rows = [
        "| data | wrong labels | accuracy | granted of a label | granted with all labels "
        "| a bound broken | by task: granted | broken |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *rows_of(arguments.cases, lambda name: measure(name, arguments.runs)),
    ]
    text = f"{measured_by()}, {arguments.runs} runs for each row.\n\n" + "\n".join(rows)
    publish("certified by label", text, arguments.report)


def measure(name: str, runs: int) -> list[str]:
    data, case, rows = DATASETS[name](), CASES[name], []
    for noise in NOISE:
        results = np.array([one_run(data.X, data.y, case, noise, seed) for seed in range(runs)])
        for at, accuracy in enumerate(ACCURACIES):
            of_label, whole, broken, by_task, task_broken = results[:, at].mean(axis=0)
            rows.append(
                f"| {name} | {noise:.0%} | {accuracy:.0%} | {of_label:.0%} | {whole:.0%} "
                f"| {broken:.1%} | {by_task:.0%} | {task_broken:.1%} |"
            )
            print(rows[-1], flush=True)
    return rows


def one_run(X: np.ndarray, y: np.ndarray, case: Case, noise: float, seed: int) -> np.ndarray:
    """Return for each accuracy what is granted, and whether a bound is broken."""
    random = np.random.default_rng(seed)
    pool = random.permutation(len(X))[:POOL]
    vectors = X[pool]
    truth = np.stack([np.isin(y[pool], list(some)) for some in case.bear.values()], axis=1)
    keep = truth.any(axis=1)  # a task without a label is none, see `CategoricalTag`
    vectors, truth = vectors[keep], truth[keep]
    given = truth.copy()
    wrong = random.random(len(given)) < noise
    given[wrong] = truth[random.integers(len(truth), size=wrong.sum())]
    audit, rest = np.arange(case.audit), np.arange(case.audit, len(truth))
    head, chosen = trained_head(vectors, given, list(case.bear), rest, case.labels)
    left = np.setdiff1d(rest, chosen)
    shares = head.label_probabilities(vectors).astype(np.float64)
    yes, scores = shares >= 0.5, np.maximum(shares, 1 - shares)
    says = yes.any(axis=1)
    audit, left = audit[says[audit]], left[says[left]]
    decisions = Decisions(
        [Decision("c", label) for label in case.bear],
        yes[left],
        scores[left],
        yes[audit],
        scores[audit],
        yes[audit] != given[audit],
    )
    return np.array([certified(decisions, truth[left], one) for one in ACCURACIES], np.float64)


def certified(decisions: Decisions, truth: np.ndarray, accuracy: float) -> list[float]:
    """Return the shares granted of a label, with all labels and by task, and what is broken."""
    wrong, half = decisions.yes != truth, (1 - CONFIDENCE) / 2
    by_label = CertifiedDecisions.find(decisions, accuracy, half)
    least, of_audit = decisions.scores.min(axis=1), decisions.audit_scores.min(axis=1)

    def breaks(granted: np.ndarray, errors: np.ndarray) -> bool:
        return bool(errors[granted].sum() > (1 - accuracy) * granted.sum())

    def certified_set(errors: np.ndarray, significance: float) -> np.ndarray:
        found = certify(of_audit, errors, least, accuracy, significance)
        return least >= (found.threshold if found else np.inf)

    whole = certified_set(decisions.wrong, half)
    by_task = certified_set(decisions.wrong.any(axis=1), 2 * half)
    sets = [*by_label.granted.T, *[whole] * len(decisions.names)]
    errors = [*wrong.T, *wrong.T]
    return [
        by_label.granted.mean(),
        whole.mean(),
        any(breaks(*pair) for pair in zip(sets, errors, strict=True)),
        by_task.mean(),
        breaks(by_task, wrong.any(axis=1)),
    ]


def trained_head(
    vectors: np.ndarray, given: np.ndarray, names: Sequence[str], rest: np.ndarray, n_labels: int
) -> tuple[TrainedHead, np.ndarray]:
    """Return a head trained on labels that the sampler chose, and their positions."""
    labels = [[name for name, bit in zip(names, row, strict=True) if bit] for row in given]
    head, chosen = None, rest[:0]
    for _ in range(2):
        left = np.setdiff1d(rest, chosen)
        sampler = ActiveSampler(
            "multilabel",
            head.sampler_model() if head else LinearHead.untrained(len(names), vectors.shape[1]),
            n_labels // 2,
            seed_fisher=True,
            labeled_data=vectors[chosen] if len(chosen) else None,
        )
        chosen = np.concatenate([chosen, left[sampler.rank(vectors[left], n_labels // 2).indices]])
        head = fit_head(
            "multilabel",
            names,
            vectors[chosen],
            [labels[at] for at in chosen],
            round=1,
            former=head,
        )
    assert head is not None
    return head, chosen


if __name__ == "__main__":
    main()
