"""One ranking for tasks with two labels each: which weights of the references serve both heads?

    python tests/benchmarks/several_controls.py --cases digits      # three minutes
    python tests/benchmarks/several_controls.py --report FILE       # a Markdown file with marks

The two labels are not functions of each other: the digit and how thick it is drawn, the digit and
its slant (a number), the intent of a question and how long it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from active_learn import ActiveSampler, LinearHead
from active_learn.evaluation.replayed_head import ReplayedHead
from active_learn.posterior import fisher
from active_learn.strategies import two_stage
from real_data import DATASETS, Data, mnist_images, read_rows, rows_of
from report import measured_by, parse_options, publish

POOL, TEST = 2000, 1000
Combine = Callable[[torch.Tensor, list[int]], torch.Tensor]


@dataclass(frozen=True)
class Label:
    """One label of all tasks."""

    name: str
    problem_type: str
    y: np.ndarray


@dataclass(frozen=True)
class Case:
    """Data, its second label, and how many tasks are labeled, in batches."""

    load: Callable[[], Data]
    first: str
    second: Callable[[Data], Label]
    batch: int
    rounds: int


def thickness(data: Data) -> Label:
    ink = data.X.mean(axis=1)
    return Label("thickness", "classification", np.digitize(ink, np.quantile(ink, [1 / 3, 2 / 3])))


def slant(data: Data) -> Label:
    """The shear of the strokes, by the second moments of the ink."""
    images = mnist_images()[0].astype(np.float64)
    rows, columns = np.mgrid[:28, :28]
    mass = images.sum(axis=(1, 2))
    y, x = (
        grid - ((images * grid).sum(axis=(1, 2)) / mass)[:, None, None] for grid in (rows, columns)
    )
    shear = (images * x * y).sum(axis=(1, 2)) / (images * y * y).sum(axis=(1, 2))
    return Label("slant", "regression", shear)


def length(data: Data) -> Label:
    rows = [row for part in ("train", "test") for row in read_rows(f"banking77_{part}.csv", ",")]
    words = np.array([len(row["text"].split()) for row in rows])
    classes = np.digitize(words, np.quantile(words, [1 / 3, 2 / 3]))
    return Label("length", "classification", classes)


CASES = {
    "digits": Case(DATASETS["digits"], "digit", thickness, 10, 15),
    "MNIST": Case(DATASETS["mnist"], "digit", slant, 20, 12),
    "banking77": Case(DATASETS["banking77"], "intent", length, 40, 12),
}

WEIGHTS: dict[str, Combine] = {
    "mean": lambda parts, sizes: parts.mean(dim=0),
    "maximum": lambda parts, sizes: parts.amax(dim=0),
    "root mean square": lambda parts, sizes: parts.square().mean(dim=0).sqrt(),
    "mean by number of labels": lambda parts, sizes: (
        (parts * torch.tensor(sizes)[:, None]).sum(dim=0) / sum(sizes)
    ),
    "mean of shares of the pool's": lambda parts, sizes: (
        parts / parts.mean(dim=1, keepdim=True).clamp_min(1e-6)
    ).mean(dim=0),
}
ALONE = ("first label alone", "second label alone")
ORDERS = (*ALONE, *WEIGHTS, "margin", "bait", "random")


def combined(combine: Combine) -> Callable[[torch.Tensor, Any], torch.Tensor]:
    """Return the weights of the references under another rule than the library's."""

    def weights(logits: torch.Tensor, problem: Any) -> torch.Tensor:
        parts = fisher.split_outputs(logits, problem)
        each = torch.stack([fisher.uncertainty(part, kind) for part, kind in parts])
        return combine(each, [part.shape[1] for part, _ in parts])

    return weights


def replay(
    X: np.ndarray, labels: list[Label], test: np.ndarray, case: Case, order: str, seed: int
) -> np.ndarray:
    """Return the scores of both heads after each batch, (rounds, 2)."""
    pool = np.setdiff1d(np.arange(len(X)), test)
    heads = [ReplayedHead(one.y, X.shape[1], one.problem_type) for one in labels]  # type: ignore[arg-type]
    asked = [ALONE.index(order)] if order in ALONE else [0, 1]
    two_stage.uncertainty = combined(WEIGHTS.get(order, WEIGHTS["mean"]))
    strategy = order if order in ("margin", "bait", "random") else "auto"
    labeled: list[int] = []
    scores = []
    for step in range(case.rounds):
        models = [heads[at].sampler_model() for at in asked]
        sampler = ActiveSampler(
            [(labels[at].problem_type, len(m.weight)) for at, m in zip(asked, models, strict=True)],  # type: ignore[arg-type]
            LinearHead.side_by_side(models),
            case.batch,
            precompute_covariance=True,
            seed_fisher=True,
            labeled_data=X[labeled] if labeled else None,
            strategy=strategy,
            random_state=1000 * seed + step,
        )
        left = np.setdiff1d(pool, labeled)
        labeled += left[sampler.rank(X[left], case.batch).indices].tolist()
        for head, one in zip(heads, labels, strict=True):
            head.fit(X[labeled], one.y[labeled])
        scores.append([h.score(X[test], one.y[test]) for h, one in zip(heads, labels, strict=True)])
    return np.array(scores)


def measure(name: str, case: Case, seeds: int) -> list[str]:
    data = case.load()
    labels = [Label(case.first, "classification", data.y), case.second(data)]
    areas: dict[str, list[np.ndarray]] = {order: [] for order in ORDERS}
    for seed in range(seeds):
        chosen = np.random.default_rng(seed).permutation(len(data.X))[: POOL + TEST]
        X = data.X[chosen]
        mine = [Label(one.name, one.problem_type, one.y[chosen]) for one in labels]
        test = np.arange(len(chosen) - min(TEST, len(chosen) // 3), len(chosen))
        for order in ORDERS:
            found = replay(X, mine, test, case, order, seed)
            areas[order].append(100 * found.mean(axis=0))
    random = np.array(areas["random"])
    rows = []
    for order in ORDERS:
        gain = np.array(areas[order]) - random
        cells = [
            f"{column.mean():+.1f} ± {column.std(ddof=1) / seeds**0.5:.1f}"
            for column in (*gain.T, gain.mean(axis=1))
        ]
        if order == "random":
            cells = [f"({column.mean():.1f})" for column in (*random.T, random.mean(axis=1))]
        rows.append(f"| {name}: {case.first}, {labels[1].name} | {order} | {' | '.join(cells)} |")
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    options = parse_options(__doc__, CASES, seeds=5)
    rows = rows_of(options.cases, lambda name: measure(name, CASES[name], options.seeds))
    text = (
        f"{measured_by()}, {options.seeds} paired seeds, ± one standard error. Gain over random in "
        "the area under the learning curve, in points of accuracy (of a number: of R²); of random "
        "the area itself, in brackets.\n\n"
        "| data | order | first label | second label | mean of both |\n|---|---|---|---|---|\n"
        + "\n".join(rows)
    )
    publish("several controls", text, options.report)


if __name__ == "__main__":
    main()
