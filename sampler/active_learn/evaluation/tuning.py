"""Choose a strategy and its parameters by replays of the labels that there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import DataError, ParameterError
from ..heads import HeadConfig, ProblemType
from ..heads.folds import folds
from .labeled_data import check_data
from .learning_curves import Curves
from .replay import Candidate, Sampler, replay

__all__ = ["Tuning", "tune"]

# With fewer, strategies cannot be told apart.
LEAST_LABELS = 50
LEAST_LABELS_PER_CLASS = 5
CURVE_STEPS = 6  # the replays end with half of the pool labeled


@dataclass(frozen=True)
class Tuning:
    """The outcome of `tune`.

    Attributes
    ----------
    best : Candidate
    curves : Curves
        Learning curves of all candidates.
    reason : str
        One sentence: why this one.
    """

    best: Candidate
    curves: Curves
    reason: str

    def __str__(self) -> str:
        return f"{self.curves.table()}\n\n{self.reason}"


def tune(
    sampler: Sampler,
    X: np.ndarray,
    y: np.ndarray,
    *,
    problem_type: ProblemType = "classification",
    current: Candidate | None = None,
    candidates: Sequence[Candidate] | None = None,
    n_folds: int = 4,
    n_repeats: int = 2,
    head_config: HeadConfig | None = None,
    progress: bool = False,
) -> Tuning:
    """Choose strategy and parameters by replaying how the given labels could have been chosen.

    The replays start from one random batch and go to half of each pool. The current strategy is
    kept unless another one's learning curve has more area under it, by more than one standard error
    of the paired difference.

    Parameters
    ----------
    sampler : callable
        See `replay`.
    X : ndarray of shape (n, d)
        Embeddings of labeled samples.
    y : ndarray of shape (n,) or (n, L)
    problem_type : {'classification', 'regression', 'multilabel'}
    current : Candidate, optional
        What is used so far; 'auto' when omitted.
    candidates : sequence of Candidate, optional
        What to compare. The current one, random and (but in regression) margin are added.
    n_folds, n_repeats : int
        Held-out folds, and how often they are dealt anew.
    head_config : HeadConfig, optional
        How heads are trained, see `replay`.
    progress : bool

    Returns
    -------
    Tuning

    Raises
    ------
    DataError
        When there are too few labels to tell strategies apart.
    """
    X, y = check_data(X, y, problem_type)
    if n_folds < 2 or n_repeats < 1:
        raise ParameterError(
            f"n_folds={n_folds}, n_repeats={n_repeats}; expected at least 2 folds and 1 repeat"
        )
    require_enough_labels(y, problem_type)
    current = current or Candidate("auto")
    chosen = complete_candidates(current, candidates, problem_type)
    splits = folds(y, n_folds, range(n_repeats))
    smallest = min(len(pool) for pool, _ in splits)
    batch = max(1, smallest // (2 * CURVE_STEPS))
    curves = replay(
        sampler,
        X,
        y,
        chosen,
        splits,
        problem_type=problem_type,
        batch=batch,
        rounds=CURVE_STEPS - 1,
        start=batch,
        head_config=head_config,
        progress=progress,
    )
    return pick_best(current, chosen, curves)


def pick_best(current: Candidate, candidates: Sequence[Candidate], curves: Curves) -> Tuning:
    """Return the current candidate, unless another is better by more than one standard error."""
    best = max(candidates, key=lambda candidate: curves.area(candidate.label).mean())
    if best.label == current.label:
        return Tuning(current, curves, f"{current.label} stays: nothing did better.")
    gain, error = curves.difference(best.label, current.label)
    gained = f"{best.label} did better by {100 * gain:.1f} ± {100 * error:.1f} points"
    if gain > error:
        return Tuning(best, curves, f"{gained} than {current.label}.")
    return Tuning(current, curves, f"{current.label} stays: {gained}, which is noise.")


def complete_candidates(
    current: Candidate, candidates: Sequence[Candidate] | None, problem_type: ProblemType
) -> list[Candidate]:
    """Return the candidates with those that are always compared, each once."""
    if candidates is None:
        candidates = [Candidate(name) for name in ("auto", "bait", "aopt", "badge", "typiclust")]
    always = [Candidate("random")]
    if problem_type != "regression":  # a point prediction has no margin
        always.insert(0, Candidate("margin"))
    unique = {candidate.label: candidate for candidate in [current, *candidates, *always]}
    return list(unique.values())


def require_enough_labels(y: np.ndarray, problem_type: ProblemType) -> None:
    """Check that there are enough labels to tell strategies apart."""
    needed, per = LEAST_LABELS, ""
    if problem_type == "classification":
        n_classes = len(np.unique(y))
        if n_classes < 2:
            raise DataError(
                "all labels are of one class; tuning needs two classes or more, label on first"
            )
        needed = max(needed, LEAST_LABELS_PER_CLASS * n_classes)
        per = f" for {n_classes} classes"
    if len(y) < needed:
        raise DataError(
            f"{len(y)} labels are too few to tell strategies apart; "
            f"expected at least {needed}{per}, label on and tune then"
        )
