"""Penalty and temperature of a logistic head, chosen by cross-validation.

The penalty is the one with the least log loss of the held-out logits, each penalty at its own best
temperature: the temperature corrects overconfidence, so overconfidence must not decide on the
penalty. The temperature is fitted as in Guo et al. (2017), but on whether the answer is right.

References
----------
C. Guo, G. Pleiss, Y. Sun, K. Q. Weinberger: On Calibration of Modern Neural Networks. ICML 2017.
J. Platt: Probabilistic Outputs for Support Vector Machines. In: Advances in Large Margin
Classifiers, 1999.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field
from scipy.optimize import minimize_scalar

from .base import FloatArray
from .folds import folds
from .logistic import Link, LogisticProblem

__all__ = ["Hyperparameters", "choose_hyperparameters", "confidence", "probabilities"]

INVERSE_PENALTIES = (1.0, 10.0, 100.0)  # in units of 1 / (mean squared distance from the mean)
FOLDS = 3
LEAST_LABELS = 12  # for folds
ENOUGH_ROWS = 3000  # held out
MORE_LABELS = 1.25  # so many times the labels call for new folds
ROUGH = 1e-3  # precision of a fit that is only compared with its like
HOTTEST = 5.0  # temperatures go from 1 / HOTTEST to HOTTEST


class Hyperparameters(BaseModel):
    """What cross-validation decides; kept until there are a quarter more labels.

    Attributes
    ----------
    inverse_penalty : float
        C of `LogisticProblem.solve`.
    temperature : float
        What logits are divided by, so that a probability is the share of right answers.
    n_labels : int
        Labels that the cross-validation used; 0 for the defaults.
    width : float or None
        Of the random cosines that the head is linear in, see `RandomCosines`; None where it is
        linear in the embeddings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    inverse_penalty: Annotated[float, Field(gt=0)] = 10.0
    temperature: Annotated[float, Field(ge=1 / HOTTEST, le=HOTTEST)] = 1.0
    n_labels: Annotated[int, Field(ge=0)] = 0
    width: Annotated[float, Field(gt=0)] | None = None

    def lasts(self, n_labels: int) -> bool:
        """Return whether the hyperparameters are kept for so many labels."""
        return n_labels <= MORE_LABELS * self.n_labels


def choose_hyperparameters(problem: LogisticProblem, random_state: int) -> Hyperparameters:
    """Choose penalty and temperature by cross-validation; with too few labels, the defaults."""
    n = len(problem.targets)
    if n < LEAST_LABELS:
        return Hyperparameters()
    rows, held_out = _held_out_logits(problem, random_state)
    targets, weights, link = problem.targets[rows], problem.weights[rows], problem.link
    losses = {
        penalty: _least(_likelihood_loss(logits, targets, weights, link))[1]
        for penalty, logits in held_out.items()
    }
    best = min(losses, key=lambda penalty: losses[penalty])
    temperature = _least(_confidence_loss(held_out[best], targets, link))[0]
    return Hyperparameters(inverse_penalty=best, temperature=temperature, n_labels=n)


def probabilities(logits: npt.NDArray[Any], link: Link) -> npt.NDArray[Any]:
    """Compute from logits (n, K) the probabilities of classes (softmax) or of labels (sigmoid)."""
    if link == "sigmoid":
        return 1 / (1 + np.exp(-np.clip(logits, -60, 60)))
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def confidence(values: npt.NDArray[Any], link: Link) -> npt.NDArray[Any]:
    """Return the probability of the answer (n,), or of each label's part (n, K) with sigmoid."""
    return values.max(axis=1) if link == "softmax" else np.maximum(values, 1 - values)


def _held_out_logits(
    problem: LogisticProblem, random_state: int
) -> tuple[npt.NDArray[np.int64], dict[float, FloatArray]]:
    """Compute logits (m, K) of held-out rows (m,) for each penalty.

    With many labels fewer folds are held out: enough rows are enough.
    """
    n = len(problem.targets)
    stratified = problem.targets
    if problem.link == "softmax":
        stratified = problem.targets.argmax(axis=1)
    splits = folds(stratified, FOLDS, [random_state])[: max(1, -(-FOLDS * ENOUGH_ROWS // n))]
    found: dict[float, list[FloatArray]] = {penalty: [] for penalty in INVERSE_PENALTIES}
    for train, test in splits:
        start = None
        for penalty in INVERSE_PENALTIES:
            weight, bias = start = problem.solve(penalty, rows=train, start=start, precision=ROUGH)
            found[penalty].append(problem.embeddings[test] @ weight.T + bias)
    rows = np.concatenate([test for _, test in splits])
    return rows, {penalty: np.concatenate(parts) for penalty, parts in found.items()}


def _likelihood_loss(
    logits: FloatArray, targets: FloatArray, weights: FloatArray, link: Link
) -> Callable[[float], float]:
    """Return the negative log-likelihood of the labels as a function of the temperature.

    Rows of a class that is in no other fold are left out: no penalty makes them likelier.
    """
    if link == "sigmoid":
        signs = 2 * targets - 1
        return lambda t: float(
            (np.logaddexp(0, -signs * logits / t) * weights).sum(dtype=np.float64)
        )
    known = np.isfinite(logits[targets > 0])
    logits, targets, weights = logits[known], targets[known], weights[known]

    def loss(temperature: float) -> float:
        shares = probabilities(logits / temperature, "softmax")[targets > 0]
        return float(-(np.log(np.maximum(shares, 1e-30)) * weights[:, 0]).sum(dtype=np.float64))

    return loss


def _confidence_loss(
    logits: FloatArray, targets: FloatArray, link: Link
) -> Callable[[float], float]:
    """Return the log loss of the confidence as a function of the temperature.

    The confidence predicts whether the answer is right. Rows of a class that is in no other fold
    count as wrong answers, because such classes will also occur later. The targets are smoothed as
    in Platt (1999), so that few labels do not lead to certainty.
    """
    if link == "softmax":
        right = (logits.argmax(axis=1) == targets.argmax(axis=1)).astype(np.float64)
    else:
        right = ((logits > 0) == (targets > 0)).astype(np.float64)
    n_right = right.sum()
    truth = np.where(right > 0, (n_right + 1) / (n_right + 2), 1 / (right.size - n_right + 2))

    def loss(temperature: float) -> float:
        scaled = probabilities(logits / temperature, link).astype(np.float64)
        sure: Any = np.clip(confidence(scaled, link), 1e-9, 1 - 1e-9)
        return float(-(truth * np.log(sure) + (1 - truth) * np.log1p(-sure)).sum())

    return loss


def _least(loss: Callable[[float], float]) -> tuple[float, float]:
    """Return the best temperature and its loss; the search is over the logarithm."""
    bound = np.log(HOTTEST)
    found = minimize_scalar(
        lambda x: loss(float(np.exp(x))), bounds=(-bound, bound), method="bounded",
        options={"xatol": 1e-3},
    )  # fmt: skip
    return float(np.exp(found.x)), float(found.fun)
