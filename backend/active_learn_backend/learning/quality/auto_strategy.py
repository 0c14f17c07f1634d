"""The strategy `auto` of a project: the library's, until replays of its own labels say otherwise.

With 200 labels, and whenever there are twice as many as at the last look, a few strategies that are
fast on any pool are replayed on the labels of the project (`active_learn.evaluation.tuning`).
Another one takes over only where it is clearly better. The replays take 60 s at most, and
the queue was published before them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from active_learn import ActiveSampler
from active_learn.errors import DataError
from active_learn.evaluation.replay import Candidate
from active_learn.evaluation.tuning import Tuning, tune
from threadpoolctl import threadpool_limits

from ...settings import Settings
from .backtest import LabeledSet

__all__ = ["is_due", "is_of_concern", "look_again", "with_own_strategy"]

LEAST_LABELS = 200
MOST_REPLAYED = 600  # labels, drawn by chance
MOST_SECONDS = 60.0  # 600 labels of 77 classes take about half of that
CLEAR = 2.0  # standard errors of the paired difference
LEAST_GAIN = 0.005  # in mean score: less is not worth a change
CANDIDATES = tuple(map(Candidate, ("auto", "bait", "badge")))  # random and margin are added


class _OutOfTime(Exception):
    """The replays took too long."""


def is_of_concern(settings: Settings) -> bool:
    """Tell whether a project is ordered by `auto`; a stream keeps the strategy it began with."""
    return settings.strategy == "auto" and isinstance(settings.budget, int)


def with_own_strategy(settings: Settings, report: Mapping[str, Any] | None) -> Settings:
    """Give the settings with what `auto` stands for, by the report of the last round."""
    own = (report or {}).get("strategy")
    if not own or not is_of_concern(settings):
        return settings
    return settings.model_copy(update={"strategy": own["name"]})


def is_due(settings: Settings, report: Mapping[str, Any] | None, n_labels: int) -> bool:
    """Tell whether there are twice the labels of the last look."""
    if not is_of_concern(settings):
        return False
    own = (report or {}).get("strategy") or {"labels": LEAST_LABELS / 2}
    return n_labels >= 2 * float(own["labels"])


def look_again(
    data: LabeledSet,
    n_labels: int,
    current: str,
    checkpoint: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Replay the labels, and choose.

    Parameters
    ----------
    data : LabeledSet
        What the heads of the project learn from.
    n_labels : int
        Labels of the project at this look.
    current : str
        What `auto` stands for now.
    checkpoint : callable
        Called before each selection; what it raises ends the look.

    Returns
    -------
    dict
        ``name`` of the strategy from now on, ``reason`` in words, ``labels`` at this look.
    """
    data, end = data.draw(MOST_REPLAYED), time.monotonic() + MOST_SECONDS

    def sampler(*arguments: Any, **options: Any) -> ActiveSampler:
        checkpoint()
        if time.monotonic() > end:
            raise _OutOfTime
        return ActiveSampler(*arguments, **options)

    try:
        with threadpool_limits(1, user_api="blas"):
            found = tune(
                partial(sampler, seed_fisher=True, precompute_covariance=True),
                data.X,
                data.y,
                problem_type=data.problem_type,
                current=Candidate(current),
                candidates=CANDIDATES,
                head_config=data.head_config,
            )
        name, reason = _clearly_best(found, current)
    except _OutOfTime:
        name, reason = current, f"the replays took more than {MOST_SECONDS:.0f} s"
    except DataError as error:
        name, reason = current, str(error)
    return {"name": name, "reason": reason, "labels": n_labels}


def _clearly_best(found: Tuning, current: str) -> tuple[str, str]:
    curves = found.curves
    best = max(curves.scores, key=lambda name: curves.area(name).mean())
    if best == current:
        return current, "nothing did better in replays of this project's labels"
    gain, error = curves.difference(best, current)
    told = f"{best} did better than {current} by {100 * gain:.1f} ± {100 * error:.1f} points"
    if gain > max(CLEAR * error, LEAST_GAIN):
        return best, f"{told} in replays of this project's labels"
    return current, f"{told} in replays of this project's labels, which is too little to change"
