"""Evaluation: the quality of a head, estimated in three ways, each with its interval.

The audit estimate is the one to trust: its tasks are drawn by chance and train nothing. The other
two use the labels that were chosen to be learned from. Weighted by how likely each was to be drawn,
they are unbiased but hardly more precise than the audit tasks among them. Cross-validated without
weights, they are biased, mostly downwards, because hard tasks are chosen first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from active_learn.errors import DataError
from active_learn.heads import Head, ProblemType, TrainedHead

from ...state.round_report import Estimate, Evaluation
from .intervals import binomial_interval, hypergeometric_interval, mean_interval

__all__ = ["audit_estimate", "evaluate", "importance_weighted_estimate"]

MOST_LABELED = 0.1  # share of the tasks up to which audit tasks pass as drawn when they come

METRICS = {
    "classification": "accuracy",
    "multilabel": "label accuracy",
    "regression": "mean absolute error",
}

Array = npt.NDArray[np.float64]


def audit_estimate(
    problem_type: ProblemType, losses: Array, population: int | None = None
) -> Estimate | None:
    """Estimate quality from tasks drawn by chance that trained nothing.

    Classification: the exact binomial interval (Clopper & Pearson, Biometrika 1934), or with a
    population the exact hypergeometric one. Wilson's is shorter but covers 83 % at worst instead
    of 95 % where accuracy is high and labels are few. Multilabel: the same interval at the
    effective number of labels (Korn & Graubard, Survey Methodology 1998). Regression: Student's
    interval of the logarithm of the mean, as absolute errors are skewed (coverage at n = 5:
    92 to 94 %, without the logarithm 87 to 92 %).

    Parameters
    ----------
    losses : array of shape (n,)
        As from `Head.losses`.
    population : int, optional
        Number of tasks that the n were drawn from, without replacement; unlimited when omitted.

    Returns
    -------
    Estimate or None
        None without a label; in regression with fewer than two.

    Raises
    ------
    DataError
        When a loss is not finite or is negative, or the population is smaller than the sample.
    """
    losses = _checked(losses)
    n = len(losses)
    if population is not None and population < n:
        raise DataError(f"{n} audit labels out of {population} tasks; pass the number of all tasks")
    if n == 0 or (problem_type == "regression" and n < 2):
        return None
    method = "tasks drawn by chance that trained nothing; "
    loss = float(losses.mean())
    if problem_type == "classification":
        wrong = round(losses.sum())
        interval = (
            binomial_interval(wrong, n)
            if population is None
            else hypergeometric_interval(wrong, n, population)
        )
        return _estimate("audit", problem_type, loss, interval, n, n, method + "exact interval")
    undrawn = 1.0 if population is None else 1 - n / population
    variance = float(losses.var(ddof=1)) / n * undrawn if n > 1 else 0.0
    interval, n_effective = mean_interval(problem_type, loss, variance, n)
    kind = "log-Student" if problem_type == "regression" else "effective-size"
    return _estimate(
        "audit", problem_type, loss, interval, n, n_effective, f"{method}{kind} interval"
    )


def importance_weighted_estimate(
    problem_type: ProblemType, losses: Array, selection_probabilities: Array, n_tasks: int
) -> Estimate | None:
    """Estimate quality from labels that were chosen with known probabilities.

    The levelled unbiased risk estimator, ``Σ v_m L_m / M`` with
    ``v_m = 1 + (N - M) / (N - m) · (1 / ((N - m + 1) q_m) - 1)``: each draw m is weighted by how
    much likelier chance alone would have drawn it. In a queue that mixes a share f of audit tasks
    into greedy picks, a pick has the probability ``1 - f + f / n_left`` and an audit task
    ``f / n_left`` (the mixture, as in the balance heuristic of Veach & Guibas, SIGGRAPH 1995): the
    audit tasks carry nearly all of the weight, which is why the interval is about theirs.

    It is unbiased where each audit task is drawn when it comes. Ours are drawn once, up front, and
    then they stand for hard tasks too that the picks have used up: with the hardest tasks picked
    first out of 2,000, 80 % accuracy came out as 78 % with 200 labels (the plain mean: 38 %), as
    74 % with 600, as 74 % (no better than the plain mean) with 1,500. `evaluate` does not use it
    that far.

    Parameters
    ----------
    losses : array of shape (M,)
        In the order of labeling; out-of-fold where a label trained the head.
    selection_probabilities : array of shape (M,)
        Probability with which each was drawn from the tasks then unlabeled, in (0, 1].
    n_tasks : int
        N, all tasks, drawn or not.

    Returns
    -------
    Estimate or None
        None while fewer than two draws were about as likely as by chance: what the choices never
        touch cannot be weighted up.

    Raises
    ------
    DataError
        When numbers make no sense: a probability outside (0, 1], more labels than tasks.

    References
    ----------
    Farquhar, Gal & Rainforth, "On Statistical Bias in Active Learning: How and When to Fix It",
    ICLR 2021.
    """
    losses, drawn_with = _checked(losses), np.asarray(selection_probabilities, np.float64)
    drawn = len(losses)
    if drawn_with.shape != losses.shape or not ((drawn_with > 0) & (drawn_with <= 1)).all():
        raise DataError("selection_probabilities must be in (0, 1], one for each label")
    if drawn > n_tasks:
        raise DataError(f"{drawn} labels out of {n_tasks} tasks; pass the number of all tasks")
    left = n_tasks - np.arange(drawn)
    weights = 1 + (n_tasks - drawn) / np.maximum(left - 1, 1) * (1 / (left * drawn_with) - 1)
    if (left * drawn_with <= 1.001).sum() < 2:
        return None
    loss = float(weights @ losses) / drawn
    variance = float(np.square(weights) @ np.square(losses - loss)) / drawn**2
    # Kish's number, of draws that are left to chance.
    n_effective = float(weights.sum() ** 2 / np.square(weights).sum())
    if problem_type != "regression":
        loss = min(max(loss, 0.0), 1.0)
    interval, n_effective = mean_interval(problem_type, loss, variance, n_effective)
    return _estimate(
        "importance_weighted",
        problem_type,
        loss,
        interval,
        drawn,
        n_effective,
        "all labels, weighted by the probability of being drawn (LURE); approximate interval",
    )


def evaluate(
    head: Head,
    train_losses: Array | None,
    audit_losses: Array,
    *,
    selection_probabilities: Array,
    order: npt.NDArray[Any],
    n_tasks: int,
) -> Evaluation:
    """Estimate the quality of a round's head.

    Parameters
    ----------
    head : Head
        Trained on the n_train labels, on none of the n_audit; or the team's own, which has seen
        none at all: then every label measures it, and there is nothing to cross-validate.
    train_losses : array of shape (n_train,) or None
        Of heads that have not seen the label, see `cross_validate`; None where there are none.
    audit_losses : array of shape (n_audit,)
        Of this head.
    selection_probabilities : array of shape (n_train + n_audit,)
        Probability with which each was drawn, training labels first; NaN for labels that came
        otherwise. Those are left out of the weighted estimate, which is then about the others.
    order : array of shape (n_train + n_audit,)
        Anything that sorts the labels by when their tasks were drawn.
    n_tasks : int
        All tasks, labeled or not.

    Returns
    -------
    Evaluation
        An estimate is None where there are too few labels. The weighted one is None also where more
        than a tenth of the tasks is labeled, because it is biased then.
    """
    problem_type = head.problem_type
    audit = audit_estimate(problem_type, audit_losses, n_tasks)
    if train_losses is None:
        return Evaluation(audit)
    weighted = None
    probabilities = np.asarray(selection_probabilities, np.float64)
    drawn = np.argsort(order, kind="stable")
    drawn = drawn[np.isfinite(probabilities[drawn])]
    others = len(probabilities) - len(drawn)
    if len(drawn) <= MOST_LABELED * (n_tasks - others):
        losses = np.concatenate([train_losses, audit_losses])[drawn]
        weighted = importance_weighted_estimate(
            problem_type, losses, probabilities[drawn], n_tasks - others
        )
    if not isinstance(head, TrainedHead):
        return Evaluation(audit, weighted)
    return Evaluation(audit, weighted, _cross_validation(problem_type, train_losses))


def _cross_validation(problem_type: ProblemType, losses: Array) -> Estimate:
    n, loss = len(losses), float(losses.mean())
    interval, n_effective = mean_interval(problem_type, loss, float(losses.var(ddof=1)) / n, n)
    return _estimate(
        "cross_validation",
        problem_type,
        loss,
        interval,
        n,
        n_effective,
        "training labels, each by a head that has not seen it; they were chosen, not drawn by "
        "chance, and the interval does not account for that",
    )


def _estimate(
    name: str,
    problem_type: ProblemType,
    loss: float,
    interval: tuple[float, float],
    n: int,
    n_effective: float,
    method: str,
) -> Estimate:
    """Return a loss as it is shown: errors as they are, a share of wrong answers as accuracy."""
    value, (low, high) = loss, interval
    if problem_type != "regression":
        value, low, high = 1 - loss, 1 - high, 1 - low
    metric = METRICS[problem_type]
    return Estimate(name, metric, value, low, high, n, float(n_effective), method)


def _checked(losses: Array) -> Array:
    losses = np.asarray(losses, np.float64)
    if not (np.isfinite(losses).all() and (losses >= 0).all()):
        raise DataError("losses hold negative numbers, NaN or infinity; check labels and head")
    return losses
