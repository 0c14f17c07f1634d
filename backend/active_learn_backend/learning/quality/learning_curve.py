"""The learning curve of a project: its points, and what more labels would gain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import t as student

__all__ = ["ERROR", "Gain", "Point", "expected_gain", "points_of"]

MOST_POINTS = 60  # of a curve: more cannot be told apart on a screen
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
        Tasks drawn by chance that it was measured on.
    """

    labels: int
    value: float
    low: float
    high: float
    audited: int
    metric: str


@dataclass(frozen=True)
class Gain:
    """What twice as many labels would gain in the metric, at least and at most (95 %).

    Attributes
    ----------
    words : str
        The same in words, or why it cannot be told.
    """

    words: str
    least: float | None = None
    most: float | None = None


def points_of(reports: Sequence[Mapping[str, Any]]) -> list[Point]:
    """Read the audit estimates out of the rounds' reports; the last of each number of labels."""
    points: dict[int, Point] = {}
    metric = ""
    for report in reports:
        found = (report.get("evaluation") or {}).get("audit")
        if not found:
            continue
        if found["metric"] != metric:  # another labeling task from here on
            points, metric = {}, found["metric"]
        points[report["labeled"]] = Point(
            report["labeled"],
            found["value"],
            found["low"],
            found["high"],
            found["n"],
            metric,
        )
    ordered = sorted(points.values(), key=lambda point: point.labels)
    if len(ordered) <= MOST_POINTS:
        return ordered
    chosen = np.linspace(0, len(ordered) - 1, MOST_POINTS).round().astype(int)
    return [ordered[at] for at in chosen]


def expected_gain(points: Sequence[Point]) -> Gain:
    """Extrapolate the curve to twice the labels.

    Errors of learners fall about as a power of the number of labels (Hestness et al., "Deep
    learning scaling is predictable, empirically", 2017), so a line is fitted to the logarithms.
    The band joins the worst of both: the 95 % interval of the slope, and that of the last error.
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
    slope, spread = _slope(x, y)
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


def _slope(x: Any, y: Any) -> tuple[float, float]:
    """Least squares: the slope, and half of its 95 % interval."""
    centered = x - x.mean()
    slope = float(centered @ y / (centered @ centered))
    residuals = y - y.mean() - slope * centered
    variance = residuals @ residuals / (len(x) - 2) / (centered @ centered)
    return slope, float(student.ppf(0.975, len(x) - 2) * math.sqrt(variance))


def _error(point: Point) -> float:
    """The error, never 0: the rule of succession, of which the logarithm is finite."""
    if point.metric == ERROR:
        return max(point.value, 1e-9)
    return ((1 - point.value) * point.audited + 0.5) / (point.audited + 1)


def _error_interval(point: Point) -> tuple[float, float]:
    if point.metric == ERROR:
        return point.low, point.high
    return 1 - point.high, 1 - point.low
