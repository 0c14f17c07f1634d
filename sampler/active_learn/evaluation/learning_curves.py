"""Learning curves of replays: areas, paired differences, labels needed, and a table.

References
----------
B. Efron, C. Stein: The Jackknife Estimate of Variance. Annals of Statistics 9 (1981).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ParameterError

__all__ = ["Curves"]


@dataclass(frozen=True)
class Curves:
    """Scores of several strategies over label counts, replicate by replicate.

    Attributes
    ----------
    labels : ndarray of shape (T,), int64
        Label counts of the curves.
    scores : dict of ndarray of shape (R, T)
        Held-out scores by candidate; R replicates, paired between candidates.
    seconds : dict of float
        Mean seconds of one selection.
    further_labels : ndarray of shape (F,), int64
        Where the curve of 'random' goes on.
    further_scores : ndarray of shape (R, F)
    """

    labels: np.ndarray
    scores: dict[str, np.ndarray]
    seconds: dict[str, float]
    further_labels: np.ndarray
    further_scores: np.ndarray

    def area(self, candidate: str) -> np.ndarray:
        """Return the area under each replicate's curve as a mean score, shape (R,)."""
        return self._scores(candidate).mean(axis=1)

    def difference(self, candidate: str, baseline: str = "random") -> tuple[float, float]:
        """Return the paired difference in area and its standard error (NaN for one replicate)."""
        return mean_and_error(self.area(candidate) - self.area(baseline))

    def final(self, candidate: str) -> tuple[float, float]:
        """Return the score at the last label count and its standard error."""
        return mean_and_error(self._scores(candidate)[:, -1])

    def labels_of_random(self, candidate: str, at: int = -1) -> tuple[float, float]:
        """Compute how many times the labels random needs for the score of a candidate.

        Read off the mean curve of 'random', made monotone, by linear interpolation; the standard
        error is the jackknife's over replicates.

        Parameters
        ----------
        candidate : str
        at : int
            Position of the label count in ``labels``; the last one when omitted.

        Returns
        -------
        ratio : float
            Infinity where random does not get there within the replay.
        error : float
            NaN for one replicate, or where random does not get there.
        """
        own = self._scores(candidate)[:, at]
        random = np.concatenate([self._scores("random"), self.further_scores], axis=1)
        counts = np.concatenate([self.labels, self.further_labels])

        def ratio(kept: np.ndarray) -> float:
            reached = first_reach(counts, random[kept].mean(axis=0), float(own[kept].mean()))
            return reached / float(self.labels[at])

        return jackknife(ratio, len(own))

    def labels_for(self, candidate: str, score: float) -> float:
        """Compute the label count at which a candidate's mean curve reaches a score, or infinity.

        The curve is made monotone and interpolated linearly.
        """
        return first_reach(self.labels, self._scores(candidate).mean(axis=0), score)

    def share_of_random(self, candidate: str, score: float) -> tuple[float, float]:
        """Compute the labels that a candidate needs for a score, as a share of those of 'random'.

        Returns
        -------
        share : float
            Below 1 where it needs fewer; infinity where it does not get there within the replay.
            Where random does not, it is taken to need as many as there are in the replay, at least.
        error : float
            The jackknife's standard error over replicates; NaN for one replicate, or where the
            candidate does not get there.
        """
        own, random = self._scores(candidate), self._scores("random")

        def share(kept: np.ndarray) -> float:
            needed = first_reach(self.labels, own[kept].mean(axis=0), score)
            of_random = first_reach(self.labels, random[kept].mean(axis=0), score)
            return needed / min(of_random, float(self.labels[-1]))

        return jackknife(share, len(own))

    def table(self) -> str:
        """Write a Markdown table, the largest area first."""
        lines = [
            f"| strategy | score at {self.labels[-1]} labels | area | against random, points "
            "| random needs | s a selection |",
            "|---|---|---|---|---|---|",
        ]
        for name in sorted(self.scores, key=lambda name: -self.area(name).mean()):
            final, final_error = self.final(name)
            against, needs = "-", "-"
            if "random" in self.scores and name != "random":
                gain, error = self.difference(name)
                against = plus_minus(100 * gain, 100 * error, "+.1f")
                ratio, error = self.labels_of_random(name)
                reached = max([int(self.labels[-1]), *map(int, self.further_labels)])
                most = f"> {reached / self.labels[-1]:.1f}×"
                needs = plus_minus(ratio, error, ".1f") + "×" if np.isfinite(ratio) else most
            lines.append(
                f"| {name} | {plus_minus(100 * final, 100 * final_error, '.1f')} "
                f"| {100 * self.area(name).mean():.1f} | {against} | {needs} "
                f"| {self.seconds[name]:.3f} |"
            )
        return "\n".join(lines)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield every score as a row (strategy, replicate, labels, score), for csv.DictWriter."""
        for name, scores in self.scores.items():
            counts, values = self.labels, scores
            if name == "random":
                counts = np.concatenate([counts, self.further_labels])
                values = np.concatenate([values, self.further_scores], axis=1)
            for replicate, curve in enumerate(values):
                for count, score in zip(counts, curve, strict=True):
                    yield {
                        "strategy": name,
                        "replicate": replicate,
                        "labels": int(count),
                        "score": float(score),
                    }

    def _scores(self, candidate: str) -> np.ndarray:
        if candidate not in self.scores:
            raise ParameterError(
                f"{candidate!r} was not replayed; there are {', '.join(self.scores)}"
            )
        return self.scores[candidate]


def first_reach(counts: np.ndarray, curve: np.ndarray, score: float) -> float:
    """Compute the label count at which a curve first reaches a score, made monotone."""
    curve = np.maximum.accumulate(curve)
    at = int(np.searchsorted(curve, score))
    if at == 0:
        return float(counts[0])
    if at == len(curve):
        return float("inf")
    share = (score - curve[at - 1]) / (curve[at] - curve[at - 1])
    return float(counts[at - 1] + share * (counts[at] - counts[at - 1]))


def jackknife(statistic: Callable[[np.ndarray], float], n: int) -> tuple[float, float]:
    """Compute a statistic of n replicates and its standard error; NaN where that is not known.

    Parameters
    ----------
    statistic : callable
        Of a mask (n,) of the replicates that it is to use.
    """
    value = statistic(np.ones(n, dtype=bool))
    without = [statistic(np.arange(n) != left_out) for left_out in range(n)] if n > 1 else []
    if not without or not np.isfinite([value, *without]).all():
        return value, float("nan")
    spread = np.square(np.array(without) - np.mean(without)).sum()
    return value, float(np.sqrt(spread * (n - 1) / n))


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Return the mean over replicates and its standard error."""
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
    return float(values.mean()), float(error)


def plus_minus(value: float, error: float, form: str) -> str:
    """Write a value with its error, where there is one."""
    if not np.isfinite(error):
        return f"{value:{form}}"
    return f"{value:{form}} ± {error:{form.removeprefix('+')}}"
