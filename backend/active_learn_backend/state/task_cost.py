"""What it costs people to label a task, as a round found it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["TaskCost"]


@dataclass(frozen=True)
class TaskCost:
    """How long people take to label a task, in seconds, as they did so far.

    Attributes
    ----------
    seconds : float
        Of a mean task of those without a label.
    fixed, per_part, per_region : float
        Of any task, and of each part and region of it.
    noun : str
        What parts are called; empty where no regions are labeled.
    n : int
        Tasks of which the time is known.
    """

    seconds: float
    fixed: float
    per_part: float
    per_region: float
    noun: str
    n: int

    @property
    def about(self) -> str:
        """The time of a task, in words."""
        return f"about {_seconds(self.seconds)}"

    @property
    def detail(self) -> str:
        """What it is made of, and what it was measured on, in words."""
        measured = f"measured on {self.n:,} tasks"
        if not self.noun:
            return measured
        return (
            f"{_seconds(self.fixed)}, {100 * self.per_part:.0f} s for 100 {self.noun} and "
            f"{_seconds(self.per_region)} for a region; {measured}"
        )


def _seconds(value: float) -> str:
    if value >= 120:
        return f"{value / 60:.0f} min"
    return f"{value:.0f} s" if value >= 10 else f"{value:.1f} s"
