"""The strategy `auto` of a project: the library's, until replays of its own labels favor another.

With 200 labels, and whenever there are twice as many as at the last comparison, a few strategies
that are fast on any pool are replayed on the labels of the project
(`active_learn.evaluation.tuning`). Another one is chosen only where it is clearly better. A
comparison takes 20 s at most, and the queue is published before it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from active_learn import ActiveSampler
from active_learn.errors import DataError
from active_learn.evaluation.replay import Candidate
from active_learn.evaluation.tuning import Tuning, tune
from threadpoolctl import threadpool_limits

from ...settings import Settings
from ...state.round_report import RoundReport, StrategyChoice
from .backtest import LabeledSet

__all__ = ["chooses_strategy", "compare_strategies", "comparison_is_due", "with_chosen_strategy"]

LEAST_LABELS = 200
MOST_REPLAYED = 600  # labels, drawn by chance
MOST_SECONDS = 20.0
CLEAR = 2.0  # standard errors of the paired difference
LEAST_GAIN = 0.005  # in mean score: less is not worth a change
CANDIDATES = tuple(map(Candidate, ("auto", "bait", "badge")))  # random and margin are added


class _OutOfTime(Exception):
    """The replays took too long."""


def chooses_strategy(settings: Settings) -> bool:
    """Return whether `auto` orders a project; a stream keeps the strategy that it began with."""
    return settings.strategy == "auto" and isinstance(settings.budget, int)


def with_chosen_strategy(
    settings: Settings, last: RoundReport | None, *, at_random: bool = False
) -> Settings:
    """Return the settings with the strategy that `auto` stands for, by the last round's report.

    Parameters
    ----------
    at_random : bool
        Whether tasks are drawn by chance for now, see `ControlHeads.at_random`.
    """
    if at_random and chooses_strategy(settings):
        return settings.model_copy(update={"strategy": "random"})
    if last is None or last.strategy is None or not chooses_strategy(settings):
        return settings
    return settings.model_copy(update={"strategy": last.strategy.name})


def comparison_is_due(settings: Settings, last: RoundReport | None, n_labels: int) -> bool:
    """Return whether there are twice as many labels as at the last comparison."""
    if not chooses_strategy(settings):
        return False
    if last is None or last.strategy is None:
        return n_labels >= LEAST_LABELS
    return n_labels >= 2 * last.strategy.labels


def compare_strategies(
    data: LabeledSet,
    n_labels: int,
    current: str,
    checkpoint: Callable[[], None] = lambda: None,
) -> StrategyChoice:
    """Replay the labels with each strategy, and choose one.

    Parameters
    ----------
    data : LabeledSet
        What the heads of the project learn from.
    n_labels : int
        Labels of the project now.
    current : str
        The strategy that `auto` stands for now.
    checkpoint : callable
        Called before each selection; an error that it raises ends the comparison.
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
    return StrategyChoice(name, reason, n_labels)


def _clearly_best(found: Tuning, current: str) -> tuple[str, str]:
    curves = found.curves
    best = max(curves.scores, key=lambda name: curves.area(name).mean())
    if best == current:
        return current, "nothing did better in replays of this project's labels"
    gain, error = curves.difference(best, current)
    result = f"{best} did better than {current} by {100 * gain:.1f} ± {100 * error:.1f} points"
    if gain > max(CLEAR * error, LEAST_GAIN):
        return best, f"{result} in replays of this project's labels"
    return current, f"{result} in replays of this project's labels, which is too little to change"
