"""Does it pay to let a project choose its own strategy by replays of its labels?

    python tests/benchmarks/auto.py --report FILE     # a Markdown file with marks for it

A pool is labeled by `auto` as in a project. Then `tune` replays these labels, and the pool is
labeled on to twice as many: by `auto`, by what `tune` prefers by two standard errors (its own rule
is one), and by every candidate, which tells what the best choice would have been worth.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from active_learn import ActiveSampler
from active_learn.evaluation.replay import Candidate, Run
from active_learn.evaluation.tuning import Tuning, tune
from labels_needed import split
from real_data import DATASETS, Data, Missing
from report import measured_by, parse_options, publish
from threadpoolctl import threadpool_limits

CURRENT = Candidate("auto")
SAMPLER = partial(ActiveSampler, seed_fisher=True, precompute_covariance=True)


@dataclass(frozen=True)
class Case:
    """Data, labels before the choice (twice as many after it), and labels per round."""

    load: Callable[[], Data]
    labels: int
    batch: int = 20


CASES = {
    "digits": Case(DATASETS["digits"], 200),
    "MNIST": Case(DATASETS["mnist"], 200),
    "MNIST, CNN": Case(DATASETS["mnist_cnn"], 200),
    "banking77": Case(DATASETS["banking77"], 400, 40),
    "STS-B": Case(DATASETS["stsb"], 200),
    "diabetes": Case(DATASETS["diabetes"], 100, 10),
}


def label_on(run: Run, labeled: np.ndarray, name: str, case: Case) -> float:
    """Label as many again by one strategy; the mean score on the way."""
    run.begin(labeled)
    scores = []
    while len(run.labeled) < 2 * case.labels:
        run.choose(Candidate(name), case.batch)
        scores.append(run.score())
    return float(np.mean(scores))


def clearly_best(tuning: Tuning) -> str:
    """Return the candidate with the largest area, if by more than two standard errors."""
    best = max(tuning.curves.scores, key=lambda name: tuning.curves.area(name).mean())
    gain, error = tuning.curves.difference(best, CURRENT.label)
    return best if gain > 2 * error else CURRENT.label


def one_seed(case: Case, data: Data, seed: int) -> tuple[str, dict[str, float], float]:
    """Return the choice, the mean score after it by strategy, and the seconds of choosing."""
    run = Run(SAMPLER, data.X, data.y, split(data, seed), data.problem_type, seed)
    while len(run.labeled) < case.labels:
        run.choose(CURRENT, case.batch)
    labeled = run.labeled
    began = time.process_time()
    found = tune(SAMPLER, run.X[labeled], run.y[labeled], problem_type=data.problem_type)
    seconds = time.process_time() - began
    after = {name: label_on(run, labeled, name, case) for name in found.curves.scores}
    return clearly_best(found), after, seconds


def line(title: str, results: list[tuple[str, dict[str, float], float]]) -> str:
    """Write one row: what was chosen, what that was worth, and what the best was worth."""
    worth = 100 * np.array([after[choice] - after["auto"] for choice, after, _ in results])
    error = worth.std(ddof=1) / np.sqrt(len(worth))
    names = list(results[0][1])
    gains = {
        name: 100 * np.mean([after[name] - after["auto"] for _, after, _ in results])
        for name in names
    }
    best = max(names, key=lambda name: gains[name])
    choices = ", ".join(choice for choice, _, _ in results)
    seconds = np.mean([seconds for *_, seconds in results])
    return (
        f"| {title} | {choices} | {worth.mean():+.2f} ± {error:.2f} "
        f"| {best} ({gains[best]:+.2f}) | {seconds:.0f} |"
    )


def main() -> None:
    arguments = parse_options(__doc__, CASES, seeds=5)
    torch.set_num_threads(1)
    threadpool_limits(1)
    lines = [
        f"{measured_by()}, "
        f"{arguments.seeds} seeds; scores in points (R² in regression), mean from the choice to "
        "twice the labels, against going on with `auto`. Chosen by two standard errors among "
        "`auto`, `bait`, `aopt`, `badge`, `typiclust`, `random` and (but in regression) `margin`.",
        "",
        "| data | chosen, by seed | worth | best in hindsight | choosing, s of CPU |",
        "|---|---|---|---|---|",
    ]
    for title in arguments.cases:
        try:
            data = CASES[title].load()
        except Missing as missing:
            print(f"{title}: left out, {missing}")
            continue
        results = [one_seed(CASES[title], data, seed) for seed in range(arguments.seeds)]
        lines.append(line(title, results))
        print(lines[-1], flush=True)
    publish("auto", "\n".join(lines), arguments.report)


if __name__ == "__main__":
    main()
