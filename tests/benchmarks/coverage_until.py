"""Up to how many labels should `auto` cover, before the A-optimal design selects?

    python tests/benchmarks/coverage_until.py --report sampler/docs/strategies.md

Every replicate is labeled from nothing by `auto`, by `coverage` up to other numbers of labels and
`aopt` from then on, and by either alone, with the same pool, heads and test set.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from active_learn import ActiveSampler
from active_learn.evaluation.learning_curves import Curves
from active_learn.evaluation.replay import Candidate
from quality import Case, run_case
from real_data import DATASETS, Data, rows_of
from report import measured_by, parse_options, publish

POOL = 2000


def smaller(pool: np.ndarray, _: Data, rng: np.random.Generator) -> np.ndarray:
    """Draw the pool's samples that take part."""
    return rng.permutation(pool)[:POOL]


def tight_and_diffuse(d: int, spread: float, offset: float) -> Data:
    """Make a class of points close together, and one of as many that lie all around it."""
    points = np.random.default_rng(0).normal(size=(2000, d)).astype(np.float32)
    points[:1000] = spread * points[:1000] + offset
    return Data(points, np.repeat([0, 1], 1000))


@dataclass(frozen=True)
class Numbers:
    """The replays, the number of labels of the rule, and the other numbers."""

    case: Case
    rule: int
    others: tuple[int, ...]


DATASETS["tight"] = partial(tight_and_diffuse, 64, 0.2, 0.2)
DATASETS["less tight"] = partial(tight_and_diffuse, 32, 0.5, 0.3)
CASES = {
    "digits": Numbers(Case("digits", 20, 10), 100, (20, 60, 140)),
    "MNIST": Numbers(Case("mnist", 20, 10, alter=smaller), 100, (20, 60, 140)),
    "banking77": Numbers(Case("banking77", 50, 12, alter=smaller), 154, (77, 308)),
    "breast cancer": Numbers(Case("breast_cancer", 20, 8), 40, (20, 100)),
    "a tight and a diffuse class": Numbers(Case("tight", 20, 8), 40, (20, 100)),
    "a less tight and a diffuse class": Numbers(Case("less tight", 20, 8), 40, (20, 100)),
}


def sampler(problem_type: str, head: Any, budget: int, **arguments: Any) -> ActiveSampler:
    """Return the sampler of a round; ``until`` labels are chosen by `coverage`, then `aopt` is."""
    until = arguments.pop("until", None)
    if until is not None:
        labeled = arguments["labeled_data"]
        few = labeled is None or len(labeled) < until
        arguments["strategy"] = "coverage" if few else "aopt"
    return ActiveSampler(problem_type, head, budget, seed_fisher=True, **arguments)


def measure(name: str, seeds: int) -> list[str]:
    """Return the row of one case: what the rule gains over each other number."""
    numbers = CASES[name]
    others = [Candidate("auto", {"until": until}) for until in numbers.others]
    curves = run_case(numbers.case, ["auto", "aopt", "coverage"], seeds, sampler, others)
    cells = [
        f"{until}: {gain(curves, other.label)}"
        for until, other in zip(numbers.others, others, strict=True)
    ]
    row = (
        f"| {name}, {curves.labels[-1]} by {numbers.case.batch} | {numbers.rule} "
        f"| {gain(curves, 'aopt')} | {'; '.join(cells)} | {gain(curves, 'coverage')} |"
    )
    print(row, flush=True)
    return [row]


def gain(curves: Curves, other: str) -> str:
    """Write by how many points the mean score of `auto` is above another's."""
    difference, error = curves.difference("auto", other)
    return f"{100 * difference:+.1f} ± {100 * error:.1f}"


def main() -> None:
    arguments = parse_options(__doc__, CASES, seeds=8)
    torch.set_num_threads(1)
    rows = rows_of(arguments.cases, lambda name: measure(name, arguments.seeds))
    text = (
        f"{measured_by()}, {arguments.seeds} paired seeds, ± one standard error, pools of up to "
        f"{POOL:,}: by how many points of mean accuracy over all label counts `auto` is above "
        "others."
    )
    head = [
        "| data, labels | `auto` covers up to | `aopt` throughout "
        "| `coverage` up to another number of labels, then `aopt` | `coverage` throughout |",
        "|---|---|---|---|---|",
    ]
    publish("coverage until", "\n".join([text, "", *head, *rows]), arguments.report)


if __name__ == "__main__":
    main()
