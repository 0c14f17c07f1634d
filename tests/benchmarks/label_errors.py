"""Label errors: how many of the planted ones are listed, and how many of the listed are planted.

    python tests/benchmarks/label_errors.py --report FILE     # a Markdown file with marks for it

One label in twenty is replaced by another class, drawn by chance. cleanlab, where it is installed,
is asked by the same out-of-fold probabilities.
"""

from __future__ import annotations

import importlib.util

import numpy as np
from active_learn.heads import TrainedHead, fit_head
from active_learn_backend.learning.quality import label_errors
from active_learn_backend.learning.quality.cross_validation import HeldOut, cross_validate
from real_data import DATASETS, Missing
from report import measured_by, parse_options, publish
from threadpoolctl import threadpool_limits

FLIPPED = 0.05
LABELS = {"digits": 1000, "MNIST": 1000, "banking77": 3000}
DATA = {"digits": "digits", "MNIST": "mnist", "banking77": "banking77"}
CLEANLAB = ("prune_by_noise_rate", "confident_learning", "both")


def listed(head: TrainedHead, held_out: HeldOut, labels: list[str], most: int) -> np.ndarray:
    """Positions that we list, the likeliest first."""
    label_errors.MOST_LISTED = most
    found = label_errors.find_label_errors(head, held_out, labels, range(len(labels)))
    return np.array([error.task_id for error in found], dtype=np.int64)


def one_seed(title: str, seed: int) -> dict[str, tuple[float, float, float]]:
    """Precision, recall and number listed, by method."""
    data = DATASETS[DATA[title]]()
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(data.y))[: LABELS[title]]
    names = np.array([f"class {label}" for label in data.y])
    offered = sorted(set(names))
    truth = names[rows]
    labels = truth.copy()
    wrong = rng.permutation(len(rows))[: round(FLIPPED * len(rows))]
    for at in wrong:
        labels[at] = rng.choice([name for name in offered if name != truth[at]])
    head = fit_head("classification", offered, data.X[rows], list(labels), round=1)
    if head is None:
        raise SystemExit("too few labels to train on")
    held_out = cross_validate(head, data.X[rows], list(labels))
    if held_out is None:
        raise SystemExit("too few labels for folds")
    found = {
        "ours, the list of 50": listed(head, held_out, list(labels), 50),
        "ours, without a limit": listed(head, held_out, list(labels), len(labels)),
    }
    if importlib.util.find_spec("cleanlab") is not None:
        from cleanlab.filter import find_label_issues

        place = {name: at for at, name in enumerate(head.classes)}
        given = np.array([place[label] for label in labels])
        for method in CLEANLAB:
            found[f"cleanlab, {method}"] = find_label_issues(
                given,
                held_out.outputs,
                filter_by=method,
                return_indices_ranked_by="normalized_margin",
                n_jobs=1,
            )
    planted = set(wrong.tolist())
    return {
        method: (
            len(planted & set(at.tolist())) / max(len(at), 1),
            len(planted & set(at.tolist())) / len(planted),
            float(len(at)),
        )
        for method, at in found.items()
    }


def main() -> None:
    arguments = parse_options(__doc__, LABELS, seeds=3)
    threadpool_limits(1)
    lines = [
        f"{measured_by()}: one label "
        f"in twenty replaced by another class, means over {arguments.seeds} seeds. Data that is "
        "wrong from the start counts as a false alarm.",
        "",
        "| data | labels | method | listed | precision | recall |",
        "|---|---|---|---|---|---|",
    ]
    for title in arguments.cases:
        try:
            seeds = [one_seed(title, seed) for seed in range(arguments.seeds)]
        except Missing as missing:
            print(f"{title}: left out, {missing}")
            continue
        for method in seeds[0]:
            precision, recall, n = np.mean([found[method] for found in seeds], axis=0)
            lines.append(
                f"| {title} | {LABELS[title]} | {method} | {n:.0f} | {100 * precision:.0f} % "
                f"| {100 * recall:.0f} % |"
            )
            print(lines[-1], flush=True)
    publish("label errors", "\n".join(lines), arguments.report)


if __name__ == "__main__":
    main()
