"""What the status page shows of each control that is learned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ...labeling.controls import ControlTag, RegionTag
from ...learning.quality.learning_curve import LEAST_AUDITED, Gain, Point, expected_gain, points_of
from ...learning.quality.stopping import Advice, advise
from ...state.round_report import ControlReport, LabelError, RoundReport

__all__ = ["ControlStatus", "control_status"]

SHOWN_BARS = 40
SHOWN_ERRORS = 20  # suspected label errors
BINS = 10  # of numbers
NOTHING = "(tasks without a region)"


@dataclass(frozen=True)
class ControlStatus:
    """One control.

    Attributes
    ----------
    name : str
        Empty where no control can be learned.
    audited : int
        Its labels that measure.
    needed : int
        How many more have to come before anything is measured.
    balance : list of (str, int)
        Labels and how often each was given; in regression ranges of numbers.
    advice : list of Advice
        What published criteria for stopping say.
    label_errors : list of LabelError
        Labels that are likely wrong, the likeliest first.
    target : float or None
        What is good enough, as a share where it is one.
    """

    name: str
    problem_type: str
    curve: list[Point]
    gain: Gain
    audited: int
    needed: int
    balance: list[tuple[str, int]]
    advice: list[Advice]
    label_errors: list[LabelError]
    target: float | None = None


def control_status(
    control: ControlTag,
    reports: Sequence[RoundReport],
    counted: Sequence[tuple[Any, int]],
    target: float | None = None,
) -> ControlStatus:
    """Return what the rounds found about a control.

    Parameters
    ----------
    counted : sequence of (label, int)
        How often each label was given.
    target : float, optional
        Error of numbers, or accuracy, that is good enough; above 1 in per cent.
    """
    name = control.from_name
    if target is not None and control.problem_type != "regression" and target > 1:
        target /= 100
    points = points_of(reports, name)
    last = reports[-1].of(name) if reports else ControlReport(name, 0)
    return ControlStatus(
        name=name,
        problem_type=control.problem_type,
        curve=points,
        gain=expected_gain(points),
        audited=last.audit,
        needed=max(LEAST_AUDITED - last.audit, 0),
        balance=_balance(control, counted),
        advice=advise(reports, target, name),
        label_errors=list(last.label_errors[:SHOWN_ERRORS]),
        target=target,
    )


def _balance(control: ControlTag, counted: Sequence[tuple[Any, int]]) -> list[tuple[str, int]]:
    """Count labels by name, those of the config first; numbers in bins of equal width."""
    if control.problem_type == "regression":
        return _bins([(label, count) for label, count in counted if isinstance(label, int | float)])
    given: Counter[str] = Counter()
    for label, count in counted:
        names = label if isinstance(label, list) else [label]
        if isinstance(control, RegionTag):
            names = [name for *_, name in names if name] or [NOTHING]
        for name in names:
            given[str(name)] += count
    offered = [(name, given.pop(name, 0)) for name in control.labels]
    return sorted([*offered, *given.items()], key=lambda pair: -pair[1])[:SHOWN_BARS]


def _bins(counted: Sequence[tuple[float, int]]) -> list[tuple[str, int]]:
    values = sorted({value for value, _ in counted})
    if len(values) <= BINS:
        found = dict(counted)
        return [(f"{value:g}", found[value]) for value in values]
    low, width = values[0], (values[-1] - values[0]) / BINS
    bins = [0] * BINS
    for value, count in counted:
        bins[min(int((value - low) / width), BINS - 1)] += count
    return [
        (f"{low + at * width:.3g} to {low + (at + 1) * width:.3g}", count)
        for at, count in enumerate(bins)
    ]
