"""From which score on is it worth to show the head's answer to the annotator?

    python tests/benchmarks/prelabels.py --report backend/docs/quality.md

A project is labeled in batches that the sampler chooses. The answers are those for the next batch,
as the queue would show them: hard tasks, not average ones. A right answer that is shown saves the
click on a choice. A wrong one that is shown is a wrong label if the annotator leaves it. An answer
just above a threshold t is worth showing if (1 - t) / t times the clicks that a wrong label costs,
times the share of wrong answers that people leave, is below 1.
"""

from __future__ import annotations

import numpy as np
from active_learn import ActiveSampler, LinearHead
from active_learn.heads import fit_head
from real_data import DATASETS, rows_of
from report import measured_by, parse_options, publish

POOL = 2000
BATCH = 20
THRESHOLDS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9)
CASES = {  # labels after which the next batch is looked at
    "digits": (20, 50, 100, 300),
    "mnist": (20, 100, 300, 1000),
    "audio": (20, 100, 300, 1000),
    "banking77": (80, 300, 1000, 1500),
}


def main() -> None:
    arguments = parse_options(__doc__, CASES, seeds=8)
    shown = " | ".join("all" if t == 0 else f"score ≥ {t:g}" for t in THRESHOLDS)
    rows = [
        f"| data | labels | {shown} |",
        "|---" * (2 + len(THRESHOLDS)) + "|",
        *rows_of(arguments.cases, lambda name: measure(name, arguments.seeds)),
    ]
    text = (
        f"{measured_by()}, {arguments.seeds} seeds. Of 100 tasks of the next batch: right answers "
        "shown (clicks saved) / wrong answers shown (wrong labels, if the annotator leaves them).\n"
        "\n" + "\n".join(rows)
    )
    publish("prelabels", text, arguments.report)


def measure(name: str, seeds: int) -> list[str]:
    data, counts = DATASETS[name](), CASES[name]
    found = np.mean([one_run(data.X, data.y.astype(str), counts, s) for s in range(seeds)], axis=0)
    total = found.sum(axis=0)
    rows = [_row(name, f"{n}", cells, 1) for n, cells in zip(counts, found, strict=True)]
    rows.append(_row(name, "all of these", total, len(counts)))
    print(*rows, sep="\n", flush=True)
    return rows


def _row(name: str, labels: str, cells: np.ndarray, n: int) -> str:
    shares = " | ".join(f"{right / n:.0f} / {wrong / n:.1f}" for right, wrong in cells)
    return f"| {name} | {labels} | {shares} |"


def one_run(X: np.ndarray, y: np.ndarray, counts: tuple[int, ...], seed: int) -> np.ndarray:
    """Return for each count and threshold the right and wrong answers shown, of 100 tasks."""
    pool = np.random.default_rng(seed).permutation(len(X))[: min(POOL, 3 * len(X) // 4)]
    vectors, truth, offered = X[pool], y[pool], tuple(np.unique(y))
    labeled, left, head, found = np.arange(0), np.arange(len(pool)), None, []
    for count in counts:
        while True:
            step = max(BATCH, len(labeled) // 5)
            sampler = ActiveSampler(
                "classification",
                head.sampler_model() if head else LinearHead.untrained(len(offered), X.shape[1]),
                step,
                seed_fisher=True,
                labeled_data=vectors[labeled] if len(labeled) else None,
            )
            batch = left[sampler.rank(vectors[left], step).indices]
            if len(labeled) >= count:
                break
            batch = batch[: count - len(labeled)]
            labeled, left = np.concatenate([labeled, batch]), np.setdiff1d(left, batch)
            head = fit_head(
                "classification", offered, vectors[labeled], list(truth[labeled]),
                round=1, former=head,
            )  # fmt: skip
        assert head is not None
        answers = head.predict(vectors[batch])
        scores = np.array([answer.score for answer in answers], np.float64)
        right = np.array([answer.label for answer in answers]) == truth[batch]
        found.append(
            [
                [(right & (scores >= t)).mean() * 100, (~right & (scores >= t)).mean() * 100]
                for t in THRESHOLDS
            ]
        )
    return np.array(found)


if __name__ == "__main__":
    main()
