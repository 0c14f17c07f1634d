"""How much of a pool the heads could label automatically, now and with more labels.

It is a plan, no certificate: the set that leaves most tasks to the heads, and the size of the
sample of it that people have to label first. The bound comes from that sample alone, so whoever
looks at the plan, however often, does not weaken it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...state.round_report import AutomaticShare, Automation, RoundReport
from ..heads import ControlHeads
from ..selection.snapshot import Snapshot
from .certification import plan_sample, significance_of_look
from .learning_curve import line_of
from .unlabeled_pool import UnlabeledPool

__all__ = ["ACCURACIES", "automation_history", "expected_automation", "plan_automation"]

ACCURACIES = (0.9, 0.95, 0.98, 0.99)
CONFIDENCE = 0.95
MOST_ANSWERED = 5000  # unlabeled tasks that stand for all
SETS = 20
AGAIN = 1.05  # as many times the labels, before it is planned again
NEEDED_POINTS, NEEDED_SPAN = 4, 1.5
WIDEST = 0.5  # of an interval of shares that says something


def plan_automation(
    snapshot: Snapshot, heads: ControlHeads, last: RoundReport | None, looks: int = 0
) -> Automation | None:
    """Return how many unlabeled tasks the heads could label at some accuracies.

    With few labels more than at the last time, its result is returned.

    Parameters
    ----------
    last : RoundReport or None
        Of the former round.
    looks : int
        Looks at the audit labels so far; the command makes one more before a verification is one.
    """
    controls = heads.task.controls
    if not all(heads.of(one) and one.problem_type != "regression" for one in controls):
        return None
    labels = int(snapshot.labeled.sum())
    unlabeled = int((~snapshot.labeled & ~snapshot.skipped).sum())
    former = last.automation if last else None
    if former and former.labels <= labels < AGAIN * former.labels:
        return former
    pool = UnlabeledPool.of(snapshot, heads, most=MOST_ANSWERED)
    scores = pool.scores
    if len(scores) < unlabeled:  # as many as there are, spread as those that were drawn
        places = (np.arange(unlabeled) * len(scores)) // unlabeled
        scores = np.sort(scores)[places]
    significance = significance_of_look(CONFIDENCE, looks + 2)
    shares = []
    for accuracy in ACCURACIES:
        plan = plan_sample(pool.audit_scores, pool.wrong, scores, accuracy, significance, SETS)
        found = AutomaticShare(accuracy)
        if plan is not None:
            found = AutomaticShare(accuracy, plan.tasks - plan.sample, plan.sample)
        shares.append(found)
    return Automation(labels, unlabeled, tuple(shares))


def automation_history(reports: Sequence[RoundReport]) -> list[Automation]:
    """Return what was planned by the rounds, the last for each number of labels."""
    found = {one.automation.labels: one.automation for one in reports if one.automation}
    return [found[labels] for labels in sorted(found)]


def expected_automation(history: Sequence[Automation], accuracy: float) -> str:
    """Say how much the heads could label with twice the labels, if it goes on as it did.

    The share is fitted by a line over the logarithm of the labels, on the last half of the plans
    and the one before.
    """
    points = [
        (one.labels, share.tasks / one.unlabeled)
        for one in history
        for share in one.shares
        if share.accuracy == accuracy and one.unlabeled and one.labels
    ]
    points = points[(len(points) - 1) // 2 :] if len(points) >= 2 * NEEDED_POINTS else points
    if len(points) < NEEDED_POINTS or points[-1][0] < NEEDED_SPAN * points[0][0]:
        return f"Too early to tell what more labels would buy at {100 * accuracy:.0f} %."
    labels, shares = (np.array(column, np.float64) for column in zip(*points, strict=True))
    slope, spread = line_of(np.log(labels), shares)
    least, most = (
        min(max(shares[-1] + math.log(2) * (slope + sign * spread), 0.0), 1.0) for sign in (-1, 1)
    )
    low, high = f"{100 * least:.0f}", f"{100 * most:.0f}"
    if most - least > WIDEST:
        return (
            f"Too early to tell what more labels would buy at {100 * accuracy:.0f} %: "
            f"{points[-1][0]:,} more mean {low} to {high} % of the rest, if it goes on as it did."
        )
    between = f"{low} to {high}" if low != high else high
    return (
        f"{points[-1][0]:,} more labels: {between} % of the rest at {100 * accuracy:.0f} %, "
        "if it goes on as it did."
    )
