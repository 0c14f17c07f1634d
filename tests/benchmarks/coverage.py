"""What a head learns afterwards from tasks that were ordered without any model.

    python tests/benchmarks/coverage.py --cases digits      # half a minute
    python tests/benchmarks/coverage.py --report FILE       # a Markdown file with marks for it

Tasks are annotated in batches, each conditioned on those annotated before, as a project of which
nothing can be learned is ordered. Only after that is a head trained on the labels, and tested.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from active_learn import ActiveSampler, LinearHead
from active_learn.heads import fit_head
from labels_needed import split
from real_data import DATASETS, Data, rows_of
from report import measured_by, parse_options, publish

STRATEGIES = ("coverage", "aopt", "medoids", "kcenter", "random")
FOUND_AFTER = 50  # tasks


@dataclass(frozen=True)
class Case:
    """Data, and how many tasks are annotated, in batches."""

    load: Callable[[], Data]
    batch: int
    most: int
    score: float


CASES = {
    "digits": Case(DATASETS["digits"], 10, 200, 0.85),
    "MNIST": Case(DATASETS["mnist"], 10, 200, 0.75),
    "banking77": Case(DATASETS["banking77"], 25, 600, 0.75),
    "audio": Case(DATASETS["audio"], 10, 200, 0.75),
}


def order(data: Data, pool: np.ndarray, case: Case, strategy: str, seed: int) -> list[int]:
    """Return the tasks of the pool in the order in which they are annotated."""
    model = LinearHead.untrained(1, data.X.shape[1])
    annotated: list[int] = []
    while len(annotated) < case.most:
        left = np.setdiff1d(pool, annotated)
        sampler = ActiveSampler(
            "classification",
            model,
            case.batch,
            precompute_covariance=True,
            seed_fisher=True,
            labeled_data=data.X[annotated] if annotated else None,
            strategy=strategy,
            random_state=seed + len(annotated),
        )
        _, rows = sampler.select(data.X[left], return_indices=True)
        annotated += left[rows].tolist()
    return annotated


def learning_curve(data: Data, tasks: list[int], test: np.ndarray, case: Case) -> np.ndarray:
    """Return the accuracy of a head trained on the first tasks, for each number of batches."""
    names = [str(one) for one in np.unique(data.y)]
    scores = []
    for n in range(case.batch, case.most + 1, case.batch):
        labels = [str(one) for one in data.y[tasks[:n]]]
        head = fit_head("classification", names, data.X[tasks[:n]], labels, round=1)
        if head is None:
            scores.append(0.0)
            continue
        answers = np.array([one.label for one in head.predict(data.X[test])])
        scores.append(float(np.mean(answers == data.y[test].astype(str))))
    return np.array(scores)


def labels_to(scores: np.ndarray, case: Case) -> float:
    """Return the labels at which the score is first reached, between batches by interpolation."""
    n = np.arange(1, len(scores) + 1) * case.batch
    reached = np.flatnonzero(scores >= case.score)
    if not len(reached):
        return np.nan
    at = reached[0]
    if at == 0:
        return float(n[0])
    share = (case.score - scores[at - 1]) / (scores[at] - scores[at - 1])
    return float(n[at - 1] + share * case.batch)


def measure(name: str, case: Case, seeds: int) -> list[str]:
    data = case.load()
    found: dict[str, list[tuple[float, float, float]]] = {one: [] for one in STRATEGIES}
    for seed in range(seeds):
        pool, test = split(data, seed)
        for strategy in STRATEGIES:
            tasks = order(data, pool, case, strategy, seed)
            scores = learning_curve(data, tasks, test, case)
            classes = len(np.unique(data.y[tasks[:FOUND_AFTER]])) / len(np.unique(data.y))
            found[strategy].append((classes, float(scores.mean()), labels_to(scores, case)))
    random = np.array(found["random"])
    rows = []
    for strategy in STRATEGIES:
        classes, area, labels = np.array(found[strategy]).T
        gain = 100 * (area - random[:, 1])
        error = gain.std(ddof=1) / len(gain) ** 0.5
        needed = f"{np.nanmean(labels):.0f}" if np.isfinite(labels).all() else f"> {case.most}"
        against = "-" if strategy == "random" else f"{gain.mean():+.1f} ± {error:.1f}"
        rows.append(
            f"| {name} | {strategy} | {100 * classes.mean():.0f} % | {100 * area.mean():.1f} | "
            f"{against} | {needed} |"
        )
    return rows


def main() -> None:
    options = parse_options(__doc__, CASES, seeds=5)
    rows = rows_of(options.cases, lambda name: measure(name, CASES[name], options.seeds))
    aims = ", ".join(f"{100 * CASES[name].score:.0f} % on {name}" for name in options.cases)
    text = (
        f"{measured_by()}, {options.seeds} paired seeds, ± one standard error. The area under the "
        "learning curve is that of a head trained after the fact, in points of accuracy; labels "
        f"needed: for {aims}.\n\n"
        f"| data | order | classes among the first {FOUND_AFTER} | area | against random | "
        "labels needed |\n|---|---|---|---|---|---|\n" + "\n".join(rows)
    )
    publish("coverage", text, options.report)


if __name__ == "__main__":
    main()
