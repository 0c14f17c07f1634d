"""Labels needed for a test accuracy by the backend's own loop, active against random.

    python tests/benchmarks/labels_needed.py --cases digits     # seconds
    python tests/benchmarks/labels_needed.py --report FILE      # a Markdown file with marks for it

Both train the same head (`fit_head`, from the former one, as a round does) after every batch; one
labels what `ActiveSampler` ranks first, the other what comes first in random order. Each seed has a
pool of its own, and both start from no label at all.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from active_learn import ActiveSampler, LinearHead
from active_learn.evaluation.learning_curves import first_reach
from active_learn.heads import fit_head
from active_learn_backend.learning.encoders import TextEncoder
from real_data import DATASETS, Data, Missing, kept, read_rows
from report import measured_by, parse_options, publish
from threadpoolctl import threadpool_limits

POOL_SHARE = 0.8  # of the training rows, in each replicate


@dataclass(frozen=True)
class Case:
    """Data, the accuracy to reach, labels per round, and the labels after which to give up."""

    load: Callable[[], Data]
    target: float
    batch: int
    most: int


def banking77_embedded() -> Data:
    """Banking77 by the encoder that needs no download."""

    def compute() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows = [read_rows(f"banking77_{part}.csv", ",") for part in ("train", "test")]
        texts = [row["text"] for part in rows for row in part]
        labels = np.array([row["category"] for part in rows for row in part])
        classes = np.unique(labels, return_inverse=True)[1]
        return TextEncoder().encode(texts), classes, np.arange(len(rows[0]), len(texts))

    return kept("banking77_embedded", compute)


CASES = {
    "banking77, MiniLM": Case(DATASETS["banking77"], 0.80, 20, 2000),
    "banking77, embedded encoder": Case(banking77_embedded, 0.80, 100, 8000),
    "digits": Case(DATASETS["digits"], 0.90, 20, 1000),
}


@dataclass(frozen=True)
class Result:
    """Labels needed by each seed (inf: not reached) and seconds per active round."""

    active: np.ndarray
    random: np.ndarray
    seconds: float

    def ratio(self) -> tuple[float, float]:
        """How many times the labels random needs, and its standard error."""
        ratios = self.random / self.active
        return float(ratios.mean()), float(ratios.std(ddof=1) / np.sqrt(len(ratios)))


def split(data: Data, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the pool in random order, and the test rows."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(data.y))
    test = order[: len(order) // 4] if data.test is None else data.test
    train = order[~np.isin(order, test)]
    return train[: round(POOL_SHARE * len(train))], test


def labels_needed(case: Case, data: Data, seed: int, active: bool) -> tuple[float, float]:
    """Label until the accuracy is reached; (labels needed, seconds per round)."""
    pool, test = split(data, seed)
    X, names = data.X, np.array([f"class {label}" for label in data.y])
    offered = tuple(f"class {label}" for label in np.unique(data.y))
    labeled, head = np.empty(0, dtype=np.int64), None
    counts, accuracies, began = [0], [0.0], time.process_time()
    while accuracies[-1] < case.target and len(labeled) + case.batch <= min(case.most, len(pool)):
        left = pool[~np.isin(pool, labeled)]
        if active:
            sampler = ActiveSampler(
                "classification",
                head.sampler_model() if head else LinearHead.untrained(len(offered), X.shape[1]),
                case.batch,
                seed_fisher=True,
                labeled_data=X[labeled] if len(labeled) else None,
            )
            left = left[sampler.rank(X[left], case.batch).indices]
        labeled = np.concatenate([labeled, left[: case.batch]])
        head = fit_head(
            "classification",
            offered,
            X[labeled],
            list(names[labeled]),
            round=len(counts),
            former=head,
        )
        counts.append(len(labeled))
        accuracies.append(1 - head.losses(X[test], list(names[test])).mean() if head else 0.0)
    seconds = (time.process_time() - began) / (len(counts) - 1)
    return first_reach(np.array(counts), np.array(accuracies), case.target), seconds


def run(case: Case, n_seeds: int) -> Result:
    data = case.load()
    active = [labels_needed(case, data, seed, active=True) for seed in range(n_seeds)]
    random = [labels_needed(case, data, seed, active=False) for seed in range(n_seeds)]
    return Result(
        np.array([needed for needed, _ in active]),
        np.array([needed for needed, _ in random]),
        float(np.mean([seconds for _, seconds in active])),
    )


def plus_minus(values: np.ndarray) -> str:
    return f"{values.mean():.0f} ± {values.std(ddof=1) / np.sqrt(len(values)):.0f}"


def table(results: dict[str, Result]) -> str:
    lines = [
        "| data | accuracy | batch | active | random | random / active | CPU s a round |",
        "|---|---|---|---|---|---|---|",
    ]
    for title, result in results.items():
        case = CASES[title]
        ratio, error = result.ratio()
        lines.append(
            f"| {title} | {100 * case.target:.0f} % | {case.batch} | {plus_minus(result.active)} "
            f"| {plus_minus(result.random)} | {ratio:.2f} ± {error:.2f} | {result.seconds:.1f} |"
        )
    return "\n".join(lines)


def main() -> None:
    arguments = parse_options(__doc__, CASES, seeds=5)
    torch.set_num_threads(1)
    threadpool_limits(1)  # for the rest of the process
    results: dict[str, Result] = {}
    for title in arguments.cases:
        try:
            results[title] = run(CASES[title], arguments.seeds)
        except Missing as reason:
            print(f"{title}: skipped, {reason}", flush=True)
            continue
        print(f"{title}: {results[title]}", flush=True)
    report = (
        f"{measured_by()}: labels needed, mean "
        f"± standard error over {arguments.seeds} paired seeds; processor seconds of an active "
        f"round with everything in it, one thread.\n\n{table(results)}"
    )
    publish("labels needed", report, arguments.report)


if __name__ == "__main__":
    main()
