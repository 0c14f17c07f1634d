"""How often is the bound of `active-learn label` broken, and how much of a pool does it grant?

    python tests/benchmarks/certified_labels.py --report backend/docs/automatic-labels.md

Each run draws a pool, an audit set and wrong labels anew. The sampler chooses the other labels in
two batches, and the head is trained on them. The bound is held against the true labels of what was
granted. The naive rule grants all answers whose calibrated score is at least the accuracy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from active_learn import ActiveSampler, LinearHead
from active_learn.heads import TrainedHead, fit_head
from active_learn_backend.learning.quality.certification import certify
from real_data import DATASETS, rows_of
from report import measured_by, parse_options, publish

POOL = 2000
CONFIDENCE = 0.95
ACCURACIES = (0.9, 0.95, 0.98)
NOISE = (0.0, 0.05)


@dataclass(frozen=True)
class Case:
    """How many labels train and how many measure."""

    labels: int
    audit: int


CASES = {"digits": Case(150, 300), "mnist": Case(200, 400), "banking77": Case(400, 400)}


def main() -> None:
    arguments = parse_options(__doc__, CASES, runs=500)
    rows = [
        "| data | wrong labels | accuracy | granted | bound broken | score ≥ accuracy: granted "
        "| bound broken |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *rows_of(arguments.cases, lambda name: measure(name, arguments.runs)),
    ]
    text = f"{measured_by()}, {arguments.runs} runs for each row.\n\n" + "\n".join(rows)
    publish("certified labels", text, arguments.report)


def measure(name: str, runs: int) -> list[str]:
    data, case, rows = DATASETS[name](), CASES[name], []
    for noise in NOISE:
        results = np.array([one_run(data.X, data.y, case, noise, seed) for seed in range(runs)])
        for at, accuracy in enumerate(ACCURACIES):
            granted, broken, naive, naive_broken = results[:, at].mean(axis=0)
            rows.append(
                f"| {name} | {noise:.0%} | {accuracy:.0%} | {granted:.0%} | {broken:.1%} "
                f"| {naive:.0%} | {naive_broken:.1%} |"
            )
            print(rows[-1], flush=True)
    return rows


def one_run(X: np.ndarray, y: np.ndarray, case: Case, noise: float, seed: int) -> np.ndarray:
    """Return for each accuracy: share granted and whether it is broken, by us and by the score."""
    random = np.random.default_rng(seed)
    pool = random.permutation(len(X))[:POOL]
    vectors, truth = X[pool], y[pool].astype(str)
    offered = np.unique(y).astype(str)
    given = truth.copy()
    wrong = random.random(len(pool)) < noise
    given[wrong] = random.choice(offered, wrong.sum())
    audit, rest = np.arange(case.audit), np.arange(case.audit, len(pool))
    head, chosen = trained_head(vectors, given, offered, rest, case.labels)
    left = np.setdiff1d(rest, chosen)
    answers = head.predict(vectors)
    labels = np.array([answer.label for answer in answers])
    scores = np.array([answer.score for answer in answers], np.float64)
    found = []
    for accuracy in ACCURACIES:
        certificate = certify(
            scores[audit], labels[audit] != given[audit], scores[left], accuracy, 1 - CONFIDENCE
        )
        ours = left[scores[left] >= certificate.threshold] if certificate else left[:0]
        naive = left[scores[left] >= accuracy]
        found.append(
            [
                value
                for granted in (ours, naive)
                for value in (
                    len(granted) / len(left),
                    (labels[granted] != truth[granted]).sum() > (1 - accuracy) * len(granted),
                )
            ]
        )
    return np.array(found, np.float64)


def trained_head(
    vectors: np.ndarray,
    given: np.ndarray,
    offered: Sequence[str],
    rest: np.ndarray,
    n_labels: int,
) -> tuple[TrainedHead, np.ndarray]:
    """Return a head trained on labels that the sampler chose, and their positions."""
    head, chosen = None, rest[:0]
    for _ in range(2):
        left = np.setdiff1d(rest, chosen)
        sampler = ActiveSampler(
            "classification",
            head.sampler_model() if head else LinearHead.untrained(len(offered), vectors.shape[1]),
            n_labels // 2,
            seed_fisher=True,
            labeled_data=vectors[chosen] if len(chosen) else None,
        )
        chosen = np.concatenate([chosen, left[sampler.rank(vectors[left], n_labels // 2).indices]])
        head = fit_head(
            "classification", offered, vectors[chosen], list(given[chosen]), round=1, former=head
        )
    assert head is not None
    return head, chosen


if __name__ == "__main__":
    main()
