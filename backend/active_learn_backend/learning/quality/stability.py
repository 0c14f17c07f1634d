"""Stability: how far the head of a round differs from earlier ones, for the advice when to stop."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from active_learn.errors import ActiveLearnError
from active_learn.heads import ProblemType, TrainedHead, head_name, load_head, saved_heads
from active_learn.heads.base import FloatArray

from ..selection.holdout import place
from ..selection.queue_builder import Snapshot

__all__ = ["agreement", "audit_gain", "compare_heads", "earlier_heads", "stop_set"]

log = logging.getLogger(__name__)

MOST_STOP_SET = 2000
STOP_SET_SEED = 2009  # another draw than the audit set's, which is of the lowest places
# New training labels between two heads whose answers are compared: such a share, within bounds. The
# last ten of a thousand change nothing, which is no sign that the next hundred will not; but heads
# are not kept for long.
LEAST_SHARE, LEAST_STEP, ENOUGH_STEP = 0.05, 10, 100
LEAST_STRETCH = 50  # new training labels over which a gain is measured
Z = 1.959964  # of a 95 % interval

Array = npt.NDArray[np.float64]


def compare_heads(
    head: TrainedHead, snapshot: Snapshot, reports: Sequence[Mapping[str, Any]], folder: Path
) -> dict[str, Any]:
    """Measure how far the answers have moved since earlier heads that are still kept.

    Parameters
    ----------
    head : TrainedHead
        Of this round, trained on ``snapshot.training``.
    reports : sequence of mapping
        Of the former rounds, see `Store.rounds`.
    folder : Path
        Of the heads.

    Returns
    -------
    dict
        ``trained``: labels that the head learned from. ``stable``: ``agreement`` with an earlier
        head on the stop set, ``step`` labels before, on ``n`` tasks; None without such a head.
        ``gain``: see `audit_gain`, or None.
    """
    trained = len(snapshot.training)
    found: dict[str, Any] = {"trained": trained, "stable": None, "gain": None}
    earlier = earlier_heads(head, reports, folder)
    steps = [(trained - count, number) for number, count in earlier.items()]
    least = min(max(LEAST_STEP, LEAST_SHARE * trained), ENOUGH_STEP)
    recent = min((step for step in steps if step[0] >= least), default=None)
    if recent is not None and (former := _load(head, folder, recent[1])):
        chosen = snapshot.embeddings[stop_set([row.content_key for row in snapshot.rows])]
        value = agreement(head.problem_type, answers(former, chosen), answers(head, chosen))
        if value is not None:
            found["stable"] = {"agreement": value, "step": recent[0], "n": len(chosen)}
    longest = max((step for step in steps if step[0] >= LEAST_STRETCH), default=None)
    if longest is not None and (former := _load(head, folder, longest[1])):
        measuring = snapshot.measuring
        vectors, labels = snapshot.embeddings[measuring], snapshot.labels(measuring)
        found["gain"] = audit_gain(
            head.problem_type, former.losses(vectors, labels), head.losses(vectors, labels)
        )
        if found["gain"]:
            found["gain"]["step"] = longest[0]
    return found


def earlier_heads(
    head: TrainedHead, reports: Sequence[Mapping[str, Any]], folder: Path
) -> dict[int, int]:
    """Tell how many labels each kept head of an earlier round was trained on, by its round."""
    trained = {
        int(report["round"]): int(report["stability"]["trained"])
        for report in reports
        if report.get("stability") and report.get("head") == head_name(report["round"])
    }
    kept = saved_heads(folder)
    return {number: trained[number] for number in kept if number in trained and number < head.round}


def _load(head: TrainedHead, folder: Path, number: int) -> TrainedHead | None:
    """Give an earlier head, where it can be read and answers for the same vectors."""
    try:
        former = load_head(folder, number)
    except ActiveLearnError as error:
        log.warning("no comparison with %s: %s", head_name(number), error)
        return None
    same = former.problem_type == head.problem_type and former.labels_offered == head.labels_offered
    encoder = head.metadata.config.encoder
    return former if same and former.reads(encoder, head.n_features) else None


def stop_set(content_keys: Sequence[str]) -> npt.NDArray[np.int64]:
    """Draw at most 2,000 tasks by a hash of their content: the same ones in every round."""
    places = np.array([place(key, STOP_SET_SEED) for key in content_keys])
    return np.argsort(places, kind="stable")[:MOST_STOP_SET]


def answers(head: TrainedHead, vectors: FloatArray) -> npt.NDArray[Any]:
    """Answers as an array: class names (n,), bits (n, L), or numbers (n,)."""
    given = [answer.label for answer in head.predict(vectors)]
    if head.problem_type == "multilabel":
        return np.array([[name in chosen for name in head.labels_offered] for chosen in given])
    return np.array(given)


def agreement(
    problem_type: ProblemType, before: npt.NDArray[Any], after: npt.NDArray[Any]
) -> float | None:
    """Measure how far two heads give the same answers, beyond what chance would.

    Cohen's kappa (Educational and Psychological Measurement 1960), in multilabel over all bits. In
    regression its counterpart for numbers, the concordance correlation coefficient (Lin, Biometrics
    1989): equal to kappa with quadratic weights.

    Returns
    -------
    float or None
        At most 1; None where all answers are the same one, which says nothing.
    """
    if problem_type == "regression":
        first, second = before.astype(np.float64), after.astype(np.float64)
        apart = np.mean(np.square(first - second))
        by_chance = first.var() + second.var() + np.square(first.mean() - second.mean())
    else:
        first, second = before.ravel(), after.ravel()
        names = np.unique(np.concatenate([first, second]))
        shares = [np.array([np.mean(one == name) for name in names]) for one in (first, second)]
        apart, by_chance = np.mean(first != second), 1 - float(shares[0] @ shares[1])
    return None if by_chance <= 0 else float(1 - apart / by_chance)


def audit_gain(problem_type: ProblemType, before: Array, after: Array) -> dict[str, Any] | None:
    """Estimate what an earlier head's loss has fallen by since, on the same audit tasks.

    The difference is paired, so only tasks that one of the heads gets wrong widen the interval.
    Shares: the interval of Agresti & Min (Statistics in Medicine 2005), which adds half a task to
    each of the four outcomes, so that a handful of tasks without a difference prove nothing.
    Regression: mean and standard error of the differences.

    Parameters
    ----------
    before, after : arrays of shape (n,)
        Losses of the earlier and of the present head, see `Head.losses`.

    Returns
    -------
    dict or None
        ``gain`` with ``low`` and ``high`` of its 95 % interval, ``n``, and ``loss`` of the present
        head; None with fewer than five tasks.
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
    return {
        "gain": float(difference.mean()),
        "low": float(center - Z * error),
        "high": float(center + Z * error),
        "n": n,
        "loss": float(after.mean()),
    }
