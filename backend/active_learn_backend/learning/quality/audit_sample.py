"""Which audit labels make an estimate, and of which tasks they are a sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...settings import RANDOM_STATE
from ...state.round_report import RoundReport
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
    return measuring[of_all], snapshot.population


def _never_exposed(
    snapshot: ControlSnapshot, at: Positions, reports: Sequence[RoundReport]
) -> Mask:
    """Return for which labeled tasks no round before the label could have picked the task."""
    known = [one for one in reports if one.audit_share is not None]
    shares = np.array([one.audit_share for one in known], np.float64)
    least = np.minimum.accumulate(np.concatenate([[np.inf], shares]))
    before = np.searchsorted([one.finished_at for one in known], snapshot.labeled_at(at))
    exposed: Mask = snapshot.places(RANDOM_STATE)[at] >= least[before]
    return ~exposed
