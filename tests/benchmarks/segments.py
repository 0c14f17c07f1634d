"""How many tasks does the order of the queue save when segments are labeled?

    python tests/benchmarks/segments.py --report backend/docs/regions.md     # four minutes

From no label on, 5 tasks a round, 60 tasks of a pool of 200. Series and sounds are drawn by the
seed, as the tests draw them; the F1 is that of other 100.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from active_learn import ActiveSampler, RaggedArray
from active_learn.heads import TaggingHead, fit_tagging_head
from active_learn_backend.labeling.regions import count_matches
from active_learn_backend.labeling.time_series import Series
from active_learn_backend.learning.heads.pooling import pool_tasks
from active_learn_backend.learning.heads.region_heads import find_regions
from active_learn_backend.learning.regions.part_kind import PartKind
from active_learn_backend.learning.regions.parts import PartsOfTasks, TaskParts, in_memory
from active_learn_backend.learning.regions.window_features import N_FEATURES, sound_windows
from active_learn_backend.learning.regions.windows import (
    SeriesWindowEncoder,
    SeriesWindows,
    SoundWindows,
    places_between,
)
from report import add_report_option, measured_by, publish
from threadpoolctl import threadpool_limits

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from drawn_segments import EVENTS, SOUNDS, Segments, series_with_events, sound_with_events

BATCH, LABELED, POOL, TEST = 5, 60, 200, 100
LOOKS = (20, 40, 60)  # labeled tasks at which the F1 is shown


def draw_series(rng: np.random.Generator) -> tuple[TaskParts, Segments]:
    columns, segments = series_with_events(rng)
    channels = np.array([columns["x"], columns["y"]], np.float32)
    return SeriesWindowEncoder().prepare(Series(channels)), segments


def draw_sound(rng: np.random.Generator) -> tuple[TaskParts, Segments]:
    samples, segments = sound_with_events(rng)
    seconds, features = sound_windows(samples)
    return TaskParts(features, places_between(seconds)), segments


DRAWN: dict[str, tuple[PartKind, tuple[str, ...], Callable[..., Any]]] = {
    "time series": (SeriesWindows(), EVENTS, draw_series),
    "sounds": (SoundWindows(), SOUNDS, draw_sound),
}


def train(
    kind: PartKind, labels: tuple[str, ...], tasks: PartsOfTasks, truth: list[Segments], former: Any
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


def curve(name: str, seed: int, by_sampler: bool) -> list[float]:
    """Return the F1 after each round."""
    kind, labels, draw = DRAWN[name]
    rng = np.random.default_rng(seed)
    drawn = [draw(rng) for _ in range(POOL + TEST)]
    tasks = in_memory([one for one, _ in drawn], N_FEATURES)
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
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--data", nargs="+", default=list(DRAWN), choices=list(DRAWN))
    add_report_option(parser)
    arguments = parser.parse_args()
    shown = " | ".join(f"{n} labeled" for n in LOOKS)
    lines = [f"| Tasks | Order | {shown} | Mean of the curve |", "| --- | --- |" + " --- |" * 4]
    with threadpool_limits(1):
        for name in arguments.data:
            for order in ("random", "of the queue"):
                curves = np.array(
                    [curve(name, seed, order != "random") for seed in range(arguments.seeds)]
                )
                means = curves.mean(axis=1)
                error = means.std(ddof=1) / len(means) ** 0.5 if len(means) > 1 else np.nan
                at = [f"{curves[:, n // BATCH - 1].mean():.0f}" for n in LOOKS]
                lines.append(
                    f"| {name} | {order} | {' | '.join(at)} | {means.mean():.1f} ± {error:.1f} |"
                )
                print(lines[-1], flush=True)
    said = (
        f"{measured_by()}, {arguments.seeds} seeds, \u00b1 one standard error: F1 at IoU .5 of "
        f"segments, in percent, {BATCH} tasks a round.\n\n"
    )
    publish("segments", said + "\n".join(lines), arguments.report)


if __name__ == "__main__":
    main()
