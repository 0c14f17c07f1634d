"""Which audit labels make an estimate, and of which tasks they are a sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...settings import RANDOM_STATE
from ...state.round_report import RoundReport
from ..selection.audit_set import least_shares
from ..selection.snapshot import ControlSnapshot, Mask, Positions
from .learning_curve import LEAST_AUDITED

__all__ = ["audit_sample"]


def audit_sample(
    snapshot: ControlSnapshot, reports: Sequence[RoundReport]
) -> tuple[Positions, int]:
    """Return the audit labels that make an estimate, and of how many tasks they are a sample.

    Rounds pick hard tasks for training among those whose place is not below the share of their
    time. So a task that only a greater share made an audit task later is drawn from what was left:
    easier tasks. Tasks that no round could have picked before they were labeled are a sample of
    all tasks. Only where those are too few, the others make the estimate, which is then about the
    tasks that do not train.

    The queue serves the audit set in the order of the places, which chance has fixed. What people
    labeled from outside counts as soon as the queue has passed its place: what they left of the
    tasks up to there, the queue has served.

    Parameters
    ----------
    reports : sequence of RoundReport
        Of the former rounds, oldest first.

    Returns
    -------
    positions : array of int64
    population : int
        Tasks that they were drawn from.
    """
    measuring = snapshot.measuring
    of_all = _never_exposed(snapshot, measuring, reports)
    if of_all.sum() < LEAST_AUDITED <= (~of_all).sum():
        return measuring[~of_all], snapshot.population - len(snapshot.training)
    served = measuring[of_all]
    return np.sort(np.concatenate([served, _passed(snapshot, served)])), snapshot.population


def _never_exposed(
    snapshot: ControlSnapshot, at: Positions, reports: Sequence[RoundReport]
) -> Mask:
    """Return for which labeled tasks no round before the label could have picked the task."""
    least = least_shares(reports, snapshot.labeled_at(at))
    exposed: Mask = snapshot.places(RANDOM_STATE)[at] >= least
    return ~exposed


def _passed(snapshot: ControlSnapshot, served: Positions) -> Positions:
    """Return the tasks taken from outside that the queue passed: it served a later place after."""
    outside = np.flatnonzero(snapshot.labeled & snapshot.outside)
    places, order = snapshot.places(RANDOM_STATE), np.argsort(snapshot.labeled_at(served))
    times = snapshot.labeled_at(served)[order]
    # The greatest place that was served at each of these times or later.
    greatest = np.maximum.accumulate(places[served[order]][::-1])[::-1]
    after = np.searchsorted(times, snapshot.labeled_at(outside), side="right")
    passed: Positions = outside[places[outside] < np.append(greatest, -1.0)[after]]
    return passed
