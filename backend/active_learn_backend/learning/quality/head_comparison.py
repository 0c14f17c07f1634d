"""How much the head of a round differs from earlier ones, to advise when to stop."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from active_learn.errors import ActiveLearnError
from active_learn.heads import (
    ProblemType,
    SavedHead,
    TrainedHead,
    head_name,
    load_heads,
    saved_heads,
)
from active_learn.heads.base import FloatArray

from ...state.round_report import AuditGain, HeadAgreement, RoundReport, Stability
from ..selection.snapshot import ControlSnapshot

__all__ = [
    "agreement",
    "audit_gain",
    "compare_heads",
    "earlier_heads",
    "heads_to_compare",
    "stop_set",
]

log = logging.getLogger(__name__)

MOST_STOP_SET = 2000
STOP_SET_SEED = 2009  # another draw than the audit set's, which is of the lowest places
# New training labels between two heads whose answers are compared: such a share, within bounds. The
# last ten of a thousand change nothing, which is no sign that the next hundred will not; but heads
# are not kept for long.
LEAST_SHARE, LEAST_STEP, ENOUGH_STEP = 0.05, 10, 100
LEAST_STRETCH = 50  # new training labels over which a gain is measured
# ... and at most such a share of all: the steep beginning of a curve says nothing about its end.
LATE_SHARE = 0.5
Z = 1.959964  # of a 95 % interval

Array = npt.NDArray[np.float64]
#: New labels since an earlier head, and its round.
Step = tuple[int, int]


def compare_heads(
    head: TrainedHead, snapshot: ControlSnapshot, reports: Sequence[RoundReport], folder: Path
) -> Stability:
    """Measure how far the answers for a control have moved since earlier heads still saved.

    Parameters
    ----------
    head : TrainedHead
        Of this round, trained on ``snapshot.training``.
    reports : sequence of RoundReport
        Of the former rounds.
    folder : Path
        Of the heads.

    Returns
    -------
    Stability
        `agreement` on the stop set and `gain` on the audit tasks are None without an earlier head
        that is far enough apart.
    """
    name, trained = snapshot.from_name, len(snapshot.training)
    agreed, gain = None, None
    recent, stretch = heads_to_compare(name, head, trained, reports, folder)
    if recent is not None and (former := _load(name, head, folder, recent[1])):
        chosen = snapshot.embeddings[stop_set(snapshot.places(STOP_SET_SEED))]
        value = agreement(head.problem_type, answers(former, chosen), answers(head, chosen))
        if value is not None:
            agreed = HeadAgreement(value, recent[0], len(chosen))
    if stretch is not None and (former := _load(name, head, folder, stretch[1])):
        measuring = snapshot.measuring
        vectors, labels = snapshot.embeddings[measuring], snapshot.labels(measuring)
        before, after = former.losses(vectors, labels), head.losses(vectors, labels)
        gain = audit_gain(head.problem_type, before, after, step=stretch[0])
    return Stability(trained, agreed, gain)


def heads_to_compare(
    control: str,
    head: SavedHead,
    trained: int,
    reports: Sequence[RoundReport],
    folder: Path,
) -> tuple[Step | None, Step | None]:
    """Return the heads that the agreement and the gain are measured since; None without one.

    Parameters
    ----------
    trained : int
        Labels that the head was trained on.
    """
    earlier = earlier_heads(control, head, reports, folder)
    steps = [(trained - count, number) for number, count in earlier.items()]
    least = min(max(LEAST_STEP, LEAST_SHARE * trained), ENOUGH_STEP)
    recent = min((step for step in steps if step[0] >= least), default=None)
    far = [step for step in steps if step[0] >= LEAST_STRETCH]
    late = [step for step in far if step[0] <= LATE_SHARE * trained]
    return recent, max(late) if late else min(far, default=None)


def earlier_heads(
    control: str, head: SavedHead, reports: Sequence[RoundReport], folder: Path
) -> dict[int, int]:
    """Return how many labels each saved head of a control was trained on, by its earlier round."""
    trained = {
        report.round: stability.trained
        for report in reports
        if (stability := report.of(control).stability)
        and report.head_version.split("+")[-1] == head_name(report.round)
    }
    saved = saved_heads(folder)
    return {
        number: trained[number] for number in saved if number in trained and number < head.round
    }


def _load(control: str, head: TrainedHead, folder: Path, number: int) -> TrainedHead | None:
    """Load an earlier head; None if it cannot be read, or was made for other labels or vectors."""
    try:
        stored = load_heads(folder, number)
    except ActiveLearnError as error:
        log.warning("no comparison with %s: %s", head_name(number), error)
        return None
    former = stored.get(control, stored.get(""))
    if not isinstance(former, TrainedHead):
        return None
    same = former.problem_type == head.problem_type and former.labels_offered == head.labels_offered
    encoder = head.metadata.config.encoder
    return former if same and former.reads(encoder, head.n_features) else None


def stop_set(places: Array) -> npt.NDArray[np.int64]:
    """Return at most 2,000 tasks, the first ones by the hash of their content."""
    return np.argsort(places, kind="stable")[:MOST_STOP_SET]


def answers(head: TrainedHead, vectors: FloatArray) -> npt.NDArray[Any]:
    """Return the answers as an array: class names (n,), bits (n, L), or numbers (n,)."""
    given = [answer.label for answer in head.predict(vectors)]
    if head.problem_type == "multilabel":
        return np.array([[name in chosen for name in head.labels_offered] for chosen in given])
    return np.array(given)


def agreement(
    problem_type: ProblemType, before: npt.NDArray[Any], after: npt.NDArray[Any]
) -> float | None:
    """Measure how often two heads give the same answer, corrected for chance.

    Cohen's kappa (Educational and Psychological Measurement 1960), in multilabel over all bits. In
    regression its counterpart for numbers, the concordance correlation coefficient (Lin, Biometrics
    1989): equal to kappa with quadratic weights.

    Returns
    -------
    float or None
        At most 1; None where all answers are the same one, which is no evidence.
    """
    if problem_type == "regression":
        return _concordance(before.astype(np.float64), after.astype(np.float64))
    first, second = before.ravel(), after.ravel()
    if len(np.unique(np.concatenate([first, second]))) < 2:
        return None
    from sklearn.metrics import cohen_kappa_score  # slow to import, and not needed to advise

    return float(cohen_kappa_score(first, second))


def _concordance(first: Array, second: Array) -> float | None:
    """Compute Lin's concordance correlation coefficient; None where all numbers are the same."""
    apart = np.mean(np.square(first - second))
    by_chance = first.var() + second.var() + np.square(first.mean() - second.mean())
    return None if by_chance <= 0 else float(1 - apart / by_chance)


def audit_gain(
    problem_type: ProblemType, before: Array, after: Array, *, step: int
) -> AuditGain | None:
    """Estimate by how much the loss fell since an earlier head, on the same audit tasks.

    The difference is paired, so only tasks that one of the heads gets wrong widen the interval.
    Shares: the interval of Agresti & Min (Statistics in Medicine 2005), which adds half a task to
    each of the four outcomes, so that a handful of tasks without a difference prove nothing.
    Regression: mean and standard error of the differences.

    Parameters
    ----------
    before, after : arrays of shape (n,)
        Losses of the earlier and of the present head, see `Head.losses`.
    step : int
        Training labels between the two.

    Returns
    -------
    AuditGain or None
        None with fewer than five tasks.
    """
    n = len(after)
    if n < 5:
        return None
    difference = before - after
    if problem_type == "regression":
        center, error = difference.mean(), difference.std(ddof=1) / np.sqrt(n)
    else:
        center = difference.sum() / (n + 2)
        second = (np.square(difference).sum() + 1) / (n + 2)
        error = np.sqrt((second - center**2) / (n + 2))
    return AuditGain(
        gain=float(difference.mean()),
        low=float(center - Z * error),
        high=float(center + Z * error),
        n=n,
        loss=float(after.mean()),
        step=step,
    )
