"""The F1 of regions by the tasks that are labeled: in the order of the queue, and in random order.

From no label on, 5 tasks a round, 60 tasks of a pool of 200. Tasks are drawn by the seed, as the
tests draw them; the F1 is that of other 100.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from active_learn import ActiveSampler, RaggedArray
from active_learn.heads import TaggingHead, fit_tagging_head
from active_learn_backend.labeling.regions import count_matches
from active_learn_backend.learning.heads.pooling import pool_tasks
from active_learn_backend.learning.heads.region_heads import find_regions
from active_learn_backend.learning.regions.part_kind import PartKind
from active_learn_backend.learning.regions.parts import PartsOfTasks, in_memory
from report import add_report_option
from threadpoolctl import threadpool_limits

BATCH, LABELED, POOL, TEST = 5, 60, 200, 100
LOOKS = (10, 20, 40, 60)  # labeled tasks at which the F1 is shown

Array = npt.NDArray[np.float64]
Regions = list[list[Any]]
#: The kind of the parts, the labels, and what draws a task and its regions.
DrawnTasks = tuple[PartKind, tuple[str, ...], Callable[..., Any]]


def train(
    kind: PartKind, labels: tuple[str, ...], tasks: PartsOfTasks, truth: list[Regions], former: Any
) -> TaggingHead | None:
    parts = tasks[np.arange(len(tasks))]
    tags = [kind.tags(one, labels, parts.places_of(at)) for at, one in enumerate(truth)]
    ragged = RaggedArray(parts.rows, parts.offsets)
    return fit_tagging_head(
        labels, ragged, tags, round=1, former=former, sequential=kind.sequential, random_state=0
    )


def f1(head: TaggingHead | None, kind: PartKind, tasks: PartsOfTasks, truth: Any) -> float:
    if head is None:
        return 0.0
    found = [one.regions for one in find_regions(head, kind, tasks)]
    both = sum(len(a) + len(b) for a, b in zip(truth, found, strict=True))
    right = sum(count_matches(a, b) for a, b in zip(truth, found, strict=True))
    return 200 * right / max(both, 1)


@dataclass
class Curve:
    """The F1 after each round, and how many regions were marked until the end."""

    f1: list[float]
    regions: int


def curve(drawn_tasks: DrawnTasks, seed: int, by_sampler: bool) -> Curve:
    """Label tasks in an order, round by round."""
    kind, labels, draw = drawn_tasks
    rng = np.random.default_rng(seed)
    drawn = [draw(rng) for _ in range(POOL + TEST)]
    tasks = in_memory([one for one, _ in drawn], drawn[0][0].features.shape[1])
    truth = [one for _, one in drawn]
    test = np.arange(POOL, POOL + TEST)
    labeled, head, found = np.empty(0, np.int64), None, []
    while len(labeled) < LABELED:
        left = np.setdiff1d(np.arange(POOL), labeled)
        if by_sampler:
            heads = [head] if head else []
            pool = partial(pool_tasks, heads=heads, prior=kind.prior)
            known = pool(tasks.select(labeled)) if len(labeled) else None
            sampler = ActiveSampler(
                "tagging", None, BATCH, labeled_data=known, seed_fisher=True, random_state=seed
            )
            batch = sampler.rank(pool(tasks.select(left)), BATCH).indices
        else:
            batch = np.random.default_rng([seed, len(left)]).permutation(len(left))[:BATCH]
        labeled = np.concatenate([labeled, left[batch]])
        head = train(kind, labels, tasks.select(labeled), [truth[at] for at in labeled], head)
        found.append(f1(head, kind, tasks.select(test), truth[POOL:]))
    return Curve(found, sum(len(truth[at]) for at in labeled))


def table(data: Mapping[str, DrawnTasks], seeds: int) -> str:
    """Return the F1 of both orders as a table in Markdown, and print it line by line."""
    shown = " | ".join(f"{n} labeled" for n in LOOKS)
    lines = [
        f"| Tasks | Order | {shown} | Mean of the curve | Regions marked |",
        "| --- | --- |" + " --- |" * (len(LOOKS) + 2),
    ]
    for name, drawn in data.items():
        chance = np.empty((seeds, 0))
        for order in ("random", "of the queue"):
            curves = [curve(drawn, seed, order != "random") for seed in range(seeds)]
            f1s = np.array([one.f1 for one in curves])
            at = f1s[:, [n // BATCH - 1 for n in LOOKS]]
            values = np.hstack([at, f1s.mean(axis=1, keepdims=True)])
            if order == "random":
                chance = values
                cells = [f"{one:.0f}" for one in values.mean(axis=0)]
            else:
                cells = [against(*pair) for pair in zip(values.T, chance.T, strict=True)]
            marked = np.mean([one.regions for one in curves])
            lines.append(f"| {name} | {order} | {' | '.join(cells)} | {marked:.0f} |")
            print(lines[-1], flush=True)
    return "\n".join(lines)


def against(values: Array, chance: Array) -> str:
    """Return a mean, and its paired difference from random order."""
    pairs = values - chance
    error = pairs.std(ddof=1) / len(pairs) ** 0.5 if len(pairs) > 1 else np.nan
    return f"{values.mean():.0f} ({pairs.mean():+.1f} \u00b1 {error:.1f})"


def measure(description: str, data: Mapping[str, DrawnTasks]) -> tuple[argparse.Namespace, str]:
    """Measure what the command line names; return the command line, and how and what was found."""
    parser = argparse.ArgumentParser(description=description.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--data", nargs="+", default=list(data), choices=list(data))
    add_report_option(parser)
    arguments = parser.parse_args()
    with threadpool_limits(1):
        found = table({one: data[one] for one in arguments.data}, arguments.seeds)
    how = (
        f"in percent, {BATCH} tasks a round, {arguments.seeds} seeds, beside it the paired "
        "difference from random \u00b1 one standard error"
    )
    return arguments, f"{how}.\n\n{found}"
