"""Results of the demo: a table to print, the learning curves as a picture and as CSV."""

from __future__ import annotations

import csv
from pathlib import Path

from .evaluation import LearningCurve

__all__ = ["draw", "summary", "table", "write_csv"]

Row = tuple[int, float | None, float | None, int | None]
# The last point of a curve is decided by one or two images of the test set; this one is not.
GOAL = 0.95
HEADER = ("labels", "active_accuracy", "plain_accuracy", "plain_labels_for_active_accuracy")


def rows(active: LearningCurve, plain: LearningCurve) -> list[Row]:
    """Put both curves side by side.

    Returns
    -------
    list of (labels, active accuracy, plain accuracy, labels the plain queue needed)
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
        "          held-out accuracy      labels the plain queue",
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
    goal = min(GOAL, active.accuracy[-1])
    needed = plain.labels_for(goal)
    outcome = (
        f"with {needed} from the plain one"
        if needed
        else f"with {plain.labels[-1]} from the plain one not yet ({plain.accuracy[-1]:.1%})"
    )
    return (
        f"{goal:.1%} was first reached with {active.labels_for(goal)} labels from the active "
        f"queue, {outcome}."
    )


def write_csv(path: Path, active: LearningCurve, plain: LearningCurve) -> None:
    """Write all rows; a cell is empty where there is no measurement."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for labels, reached, other, needed in rows(active, plain):
            writer.writerow((labels, _cell(reached), _cell(other), needed))


def draw(path: Path, active: LearningCurve, plain: LearningCurve) -> None:
    """Draw both learning curves as PNG."""
    from matplotlib.figure import Figure  # slow to import, and an optional dependency

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(active.labels, active.accuracy, marker="o", markersize=4, label="active queue")
    axes.plot(plain.labels, plain.accuracy, marker="s", markersize=3, label="plain queue")
    axes.set_xlabel("labels")
    axes.set_ylabel("held-out accuracy")
    axes.set_title("Handwritten digits: what each label taught")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(path, dpi=120)


def _percent(share: float | None) -> str:
    return f"{'':>9}" if share is None else f"{share:>8.1%} "


def _cell(share: float | None) -> str:
    return "" if share is None else f"{share:.4f}"
