"""The learning curve as the coordinates of an SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ...learning.quality.learning_curve import ERROR, Point
from ...state.round_report import Automation

__all__ = ["HEIGHT", "WIDTH", "Drawing", "ShareDrawing", "draw", "draw_shares"]

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 48, 352, 10, 190  # of the plot inside it
SHARES_RIGHT = 315  # which leaves room for the names of the lines
NAME_HEIGHT = 13
LEAST_TOP = 1e-6  # of an axis of errors, whose ticks are rounded to ten decimals


@dataclass(frozen=True)
class Drawing:
    """A curve in the coordinates of an SVG of `WIDTH` by `HEIGHT`.

    Attributes
    ----------
    band, line : str
        Points of a polygon and of a polyline.
    dots : list of (float, float)
    x_ticks, y_ticks : list of (float, str)
    random : str
        Points of a polyline: random order in the last backtest; empty without one.
    target : float or None
        Height of the target.
    """

    band: str
    line: str
    dots: list[tuple[float, float]]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    random: str = ""
    target: float | None = None


@dataclass(frozen=True)
class ShareDrawing:
    """Shares by the number of labels, a line for each accuracy.

    Attributes
    ----------
    lines : list of (str, str, float, float)
        Name, points of a polyline, and the place of the name.
    x_ticks, y_ticks : list of (float, str)
    """

    lines: list[tuple[str, str, float, float]]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]


def draw(
    points: Sequence[Point],
    target: float | None = None,
    random: Sequence[tuple[int, float]] = (),
) -> Drawing | None:
    """Compute the drawing of a curve; None while there is nothing to draw.

    Parameters
    ----------
    target : float, optional
        What is good enough.
    random : sequence of (int, float)
        Labels, and what random order reached with them in a backtest; of an accuracy.
    """
    if not points:
        return None
    most = max(5, *(point.labels for point in points))
    # An accuracy is shown on all of its scale; an error from 0 to the largest that was measured,
    # not to the end of its interval, which can be far away.
    is_error = points[0].metric == ERROR
    top = 1.15 * max(point.value for point in points) if is_error else 1.0
    top = max(top, LEAST_TOP) if top else 1.0

    def x(labels: float) -> float:
        return round(LEFT + (RIGHT - LEFT) * labels / most, 1)

    def y(value: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * min(max(value / top, 0), 1), 1)

    dots = [(x(point.labels), y(point.value)) for point in points]
    upper = [(x(point.labels), y(point.high)) for point in points]
    lower = [(x(point.labels), y(point.low)) for point in reversed(points)]
    return Drawing(
        band=_path([*upper, *lower]),
        line=_path(dots),
        dots=dots,
        x_ticks=[(x(value), f"{value:g}") for value in _ticks(most)],
        y_ticks=[
            (y(value), f"{value:g}" if is_error else f"{100 * value:.0f} %")
            for value in _ticks(top)
        ],
        random=_path([(x(labels), y(value)) for labels, value in random if labels <= most]),
        target=y(target) if target is not None and 0 <= target <= top else None,
    )


def draw_shares(history: Sequence[Automation]) -> ShareDrawing | None:
    """Compute the drawing of what could be labeled automatically; None before two plans."""
    known = [one for one in history if one.unlabeled]
    if len(known) < 2:
        return None
    most = max(5, known[-1].labels)

    def x(labels: float) -> float:
        return round(LEFT + (SHARES_RIGHT - LEFT) * labels / most, 1)

    def y(share: float) -> float:
        return round(BOTTOM - (BOTTOM - TOP) * min(max(share, 0), 1), 1)

    lines, lowest = [], float(BOTTOM + NAME_HEIGHT)
    accuracies = sorted({one.accuracy for plan in known for one in plan.shares}, reverse=True)
    for accuracy in accuracies:  # from the lowest line up, so that no two names overlap
        dots = [
            (x(plan.labels), y(one.tasks / plan.unlabeled))
            for plan in known
            for one in plan.shares
            if one.accuracy == accuracy
        ]
        lowest = min(dots[-1][1], lowest - NAME_HEIGHT)
        lines.append((f"{100 * accuracy:.0f} %", _path(dots), dots[-1][0] + 4, lowest))
    return ShareDrawing(
        lines[::-1],
        [(x(value), f"{value:g}") for value in _ticks(most)],
        [(y(value), f"{100 * value:.0f} %") for value in _ticks(1)],
    )


def _path(corners: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in corners)


def _ticks(most: float) -> list[float]:
    """Return five or six round numbers from 0 to the largest."""
    step = 10.0 ** math.floor(math.log10(most / 4))
    step *= next(factor for factor in (1, 2, 2.5, 5, 10) if most / (factor * step) <= 5)
    return [round(step * at, 10) for at in range(int(most / step + 1e-9) + 1)]
