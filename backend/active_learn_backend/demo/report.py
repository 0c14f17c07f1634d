"""Results of the demo: a table to print, the learning curves as a picture and as CSV."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from .evaluation import LearningCurve

__all__ = ["draw", "header", "summary", "table", "write_csv"]

Row = tuple[int, float | None, float | None, int | None]
# The last point of a curve is decided by one or two images of the test set; this one is not.
GOAL = 0.95
GRID = 200  # points at which curves are compared


def header(metric: str) -> tuple[str, ...]:
    """Return the names of the columns of the CSV file."""
    name = metric.lower()
    return "labels", f"active_{name}", f"plain_{name}", f"plain_labels_for_active_{name}"


def rows(active: LearningCurve, plain: LearningCurve) -> list[Row]:
    """Put both curves side by side.

    Returns
    -------
    list of (labels, active quality, plain quality, labels the plain queue needed)
        None where a queue was not measured, and where the plain queue never got as far.
    """
    found: list[Row] = []
    for labels in sorted({*active.labels, *plain.labels}):
        reached = active.at(labels)
        needed = None if reached is None else plain.labels_for(reached)
        found.append((labels, reached, plain.at(labels), needed))
    return found


def table(active: LearningCurve, plain: LearningCurve) -> str:
    """Return the rows at which the active queue was measured, as text."""
    lines = [
        f"          {f'held-out {active.metric}':<23}labels the plain queue",
        "labels   active      plain       needed for the same",
    ]
    for labels, reached, other, needed in rows(active, plain):
        if reached is not None:
            enough = str(needed) if needed else f"more than {plain.labels[-1]}"
            lines.append(f"{labels:>6} {_percent(reached)}  {_percent(other)}       {enough}")
    return "\n".join(lines)


def summary(active: LearningCurve, plain: LearningCurve) -> str:
    """Write in one sentence when each queue first reached the goal.

    It is `GOAL`, or what the active queue ended with, if that is less.
    """
    goal = min(GOAL, active.quality[-1])
    first, needed = active.labels_for(goal), plain.labels_for(goal)
    outcome = (
        f"with {_labels(plain, needed)} from the plain one"
        if needed
        else f"with {_labels(plain, plain.labels[-1])} from the plain one not yet "
        f"({plain.quality[-1]:.1%})"
    )
    given = f"{first} labels from the active queue{_work(active, first)}"
    metric = "" if active.metric == "accuracy" else f"{active.metric} "
    told = f"{metric}{goal:.1%} was first reached with {given}, {outcome}."
    return f"{told}\n{_at_equal_work(active, plain)}" if active.seconds else told


def _at_equal_work(active: LearningCurve, plain: LearningCurve) -> str:
    """Return in a sentence how far the curves are apart on average: single points are noise."""
    end = min(active.seconds[-1], plain.seconds[-1])
    at = np.linspace(0, end, GRID)
    means = [
        float(np.interp(at, (0, *one.seconds), (0, *one.quality)).mean()) for one in (active, plain)
    ]
    gain = 100 * (means[0] - means[1])
    way = "above" if gain >= 0 else "below"
    return (
        f"Over the first {end / 60:.0f} minutes of work the {active.metric} of the active queue "
        f"was on average {abs(gain):.1f} points {way} that of the plain queue."
    )


def write_csv(path: Path, active: LearningCurve, plain: LearningCurve) -> None:
    """Write all rows; a cell is empty where there is no measurement."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header(active.metric))
        for labels, reached, other, needed in rows(active, plain):
            writer.writerow((labels, _cell(reached), _cell(other), needed))


def draw(path: Path, active: LearningCurve, plain: LearningCurve, title: str) -> None:
    """Draw both learning curves as PNG; where labels cost different work also over the work."""
    from matplotlib.figure import Figure  # slow to import, and an optional dependency

    by_work = bool(active.seconds)
    figure = Figure(figsize=(11 if by_work else 7, 4.5), layout="constrained")
    panels = figure.subplots(1, 1 + by_work, sharey=True, squeeze=False)[0]
    for axes, is_work in zip(panels, (False, True), strict=False):
        for curve, name, marker in ((active, "active", "o"), (plain, "plain", "s")):
            at = [second / 60 for second in curve.seconds] if is_work else curve.labels
            size = 4 if name == "active" else 3
            axes.plot(at, curve.quality, marker=marker, markersize=size, label=f"{name} queue")
        axes.set_xlabel("minutes of work, as published studies time it" if is_work else "labels")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel(f"held-out {active.metric}")
    panels[0].legend(loc="lower right")
    figure.suptitle(f"{title}: what each label taught", fontsize="large")
    figure.savefig(path, dpi=120)


def _labels(curve: LearningCurve, labels: int) -> str:
    return f"{labels}{_work(curve, labels)}"


def _work(curve: LearningCurve, labels: int | None) -> str:
    minutes = None if labels is None else curve.minutes(labels)
    return "" if minutes is None else f" ({minutes:.0f} minutes of work)"


def _percent(share: float | None) -> str:
    return f"{'':>9}" if share is None else f"{share:>8.1%} "


def _cell(share: float | None) -> str:
    return "" if share is None else f"{share:.4f}"
