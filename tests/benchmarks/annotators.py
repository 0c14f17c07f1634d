"""Does it pay to weigh the label of a task by what its annotators agree on?

    python tests/benchmarks/annotators.py --report sampler/docs/strategies.md

Half of the tasks have one annotation, the others two or three; each is wrong with a probability of
a quarter. Heads are trained on the majority, a tie is decided by the last annotation.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from active_learn import ActiveSampler, LabeledData
from active_learn.evaluation.learning_curves import Curves
from active_learn.evaluation.replay import Candidate, replay
from active_learn_backend.learning.selection.label_noise import label_noise
from active_learn_backend.state.store import TaskRow
from quality import Case, make_splits
from real_data import DATASETS, Data
from report import add_report_option, measured_by, publish
from threadpoolctl import threadpool_limits

WRONG = 0.25
CASES = {
    "digits": Case("digits", 20, 10, repeats=2),
    "breast cancer": Case("breast_cancer", 5, 12, repeats=4),
}
STRATEGIES = ("auto", "aopt", "bait")


def annotated(data: Data, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the resolved label of each row, and the noise that the backend derives for it."""
    rng, classes = np.random.default_rng(0), np.unique(data.y)
    labels, rows = data.y.copy(), []
    for at, truth in enumerate(data.y):
        count = most if rng.random() < 0.5 else 1
        votes = [
            rng.choice(classes[classes != truth]) if rng.random() < WRONG else truth
            for _ in range(count)
        ]
        counts = [votes.count(vote) for vote in votes]
        labels[at] = [vote for vote in votes if votes.count(vote) == max(counts)][-1]
        against = sum(vote != labels[at] for vote in votes)
        given = {"label": [count, against]} if count > 1 else None
        rows.append(TaskRow(at, {}, "", {"label": "a class"}, False, votes=given))
    noise = label_noise(rows)
    assert noise is not None
    return labels, noise


def run(case: Case, data: Data, most: int, seeds: int) -> Curves:
    """Return the learning curves of each strategy with and without the weights."""
    labels, noise = annotated(data, most)
    row_of = {row.tobytes(): at for at, row in enumerate(data.X)}

    def sampler(*arguments: Any, labeled_data: Any, weigh: bool = False, **named: Any) -> Any:
        if weigh and labeled_data is not None:
            known = [row_of[row.tobytes()] for row in labeled_data]
            labeled_data = LabeledData(labeled_data, noise=noise[known])
        return ActiveSampler(*arguments, labeled_data=labeled_data, seed_fisher=True, **named)

    splits = make_splits(case, data, case.repeats * seeds)
    return replay(
        sampler,
        np.concatenate([data.X, data.X]),  # the copy is tested on, with the right labels
        np.concatenate([labels, data.y]),
        [Candidate(name, {"weigh": weigh}) for name in STRATEGIES for weigh in (False, True)],
        [(pool, test + len(data.y)) for pool, test in splits],
        batch=case.batch,
        rounds=case.rounds,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    add_report_option(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    threadpool_limits(1)
    lines = [
        f"{measured_by()}, paired seeds. Gain of the weights in the area under the learning curve, "
        "in points of accuracy ± one standard error.",
        "",
        f"| data | annotations | seeds | {' | '.join(STRATEGIES)} |",
        "|---" * (3 + len(STRATEGIES)) + "|",
    ]
    for title, case in CASES.items():
        for most in (2, 3):
            curves = run(case, DATASETS[case.dataset](), most, arguments.seeds)
            cells = []
            for name in STRATEGIES:
                gain, error = curves.difference(f"{name}(weigh=True)", f"{name}(weigh=False)")
                cells.append(f"{100 * gain:+.1f} ± {100 * error:.1f}")
            seeds = case.repeats * arguments.seeds
            lines.append(f"| {title} | 1 or {most} | {seeds} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    publish("annotators", "\n".join(lines), arguments.report)


if __name__ == "__main__":
    main()
