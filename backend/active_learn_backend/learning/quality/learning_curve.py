"""The learning curve of a project: its points, and what more labels would gain."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # scipy.stats is loaded when it is first used: it takes most of a second

from ...state.round_report import RoundReport

__all__ = [
    "ERROR",
    "LEAST_AUDITED",
    "Gain",
    "Point",
    "expected_gain",
    "latest_points",
    "line_of",
    "points_of",
]

#: Audit labels below which nothing is said: one right answer is no accuracy of 100 %.
LEAST_AUDITED = 10
MOST_POINTS = 60  # of a curve: more are not visible on a screen
NEEDED_AUDITED, NEEDED_POINTS, NEEDED_SPAN = 30, 5, 2.0
ERROR = "mean absolute error"  # the one metric that is better when it is lower


@dataclass(frozen=True)
class Point:
    """Quality that one round measured, with its 95 % confidence interval.

    Attributes
    ----------
    labels : int
        Labeled tasks at that time.
    audited : int
        Tasks drawn by chance on which it was measured.
    control : str
        Name of the control.
    """

    labels: int
    value: float
    low: float
    high: float
    audited: int
    metric: str
    control: str = ""


@dataclass(frozen=True)
class Gain:
    """The expected gain in the metric from twice as many labels, at least and at most (95 %).

    Attributes
    ----------
    words : str
        The same in words, or why it cannot be estimated.
    """

    words: str
    least: float | None = None
    most: float | None = None


def points_of(reports: Sequence[RoundReport], control: str | None = None) -> list[Point]:
    """Return the audit estimates of the rounds, the last for each number of labels.

    Those on fewer than `LEAST_AUDITED` tasks are left out.

    Parameters
    ----------
    control : str, optional
        Name of the control; the first when omitted.
    """
    points: dict[int, Point] = {}
    metric = ""
    for report in reports:
        found = report.of(control)
        audit = found.evaluation.audit
        if audit is None or audit.n < LEAST_AUDITED:
            continue
        if audit.metric != metric:  # another labeling task from here on
            points, metric = {}, audit.metric
        points[found.labeled] = Point(
            found.labeled, audit.value, audit.low, audit.high, audit.n, metric, found.control
        )
    ordered = sorted(points.values(), key=lambda point: point.labels)
    if len(ordered) <= MOST_POINTS:
        return ordered
    chosen = np.linspace(0, len(ordered) - 1, MOST_POINTS).round().astype(int)
    return [ordered[at] for at in chosen]


def latest_points(report: RoundReport | None) -> list[Point]:
    """Return what a round measured, for each control that has an audit estimate."""
    if report is None:
        return []
    return [point for one in report.controls for point in points_of([report], one.control)]


def expected_gain(points: Sequence[Point]) -> Gain:
    """Extrapolate the curve to twice the labels.

    Errors of learners fall about as a power of the number of labels (Hestness et al., "Deep
    learning scaling is predictable, empirically", 2017), so a line is fitted to the logarithms.
    The band combines two intervals: the 95 % interval of the slope, and that of the last error.
    All points share most of their audited tasks, so it is a guide, not a promise.
    """
    audited = points[-1].audited if points else 0
    if audited < NEEDED_AUDITED:
        return Gain(
            f"Too early to tell: {audited} audited labels, {NEEDED_AUDITED} are needed to look "
            "ahead."
        )
    usable = [point for point in points if point.audited >= NEEDED_AUDITED // 3 and point.labels]
    if len(usable) < NEEDED_POINTS or usable[-1].labels < NEEDED_SPAN * usable[0].labels:
        return Gain(
            f"Too early to tell: {NEEDED_POINTS} measured rounds are needed over a doubling of the "
            "labels."
        )
    last = usable[-1]
    x = np.log([point.labels for point in usable])
    y = np.log([_error(point) for point in usable])
    slope, spread = line_of(x, y)
    error_low, error_high = _error_interval(last)
    fractions = [1 - 2.0 ** (slope + sign * spread) for sign in (1, -1)]
    least, most = max(fractions[0], 0) * error_low, max(fractions[1], 0) * error_high
    labels = f"{last.labels:,} more labels"
    if most <= 0:
        return Gain(f"No further gain can be seen from {labels}.", 0.0, 0.0)
    change = (
        f"lower the error by {least:.2g} to {most:.2g}"
        if last.metric == ERROR
        else f"raise the {last.metric} by {100 * least:.1f} to {100 * most:.1f} points"
    )
    return Gain(f"{labels} would {change}, if the curve goes on as it did.", least, most)


def line_of(x: Any, y: Any) -> tuple[float, float]:
    """Compute the slope by least squares, and half of its 95 % interval."""
    centered = x - x.mean()
    slope = float(centered @ y / (centered @ centered))
    residuals = y - y.mean() - slope * centered
    variance = residuals @ residuals / (len(x) - 2) / (centered @ centered)
    return slope, float(scipy.stats.t.ppf(0.975, len(x) - 2) * math.sqrt(variance))


def _error(point: Point) -> float:
    """Return the error, by the rule of succession: never 0, so that its logarithm is finite."""
    if point.metric == ERROR:
        return max(point.value, 1e-9)
    return ((1 - point.value) * point.audited + 0.5) / (point.audited + 1)


def _error_interval(point: Point) -> tuple[float, float]:
    if point.metric == ERROR:
        return point.low, point.high
    return 1 - point.high, 1 - point.low
