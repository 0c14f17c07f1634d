"""Common base of the tags whose answer is a number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from .base import ControlTag

__all__ = ["NumericTag"]


LARGEST = 3e38  # larger numbers are infinite in float32, in which models compute


class NumericTag(ControlTag):
    """A tag whose answer is a number: regression.

    A number outside of the bounds is no label, like a choice that the config no longer offers.
    """

    problem_type = "regression"
    low: float | None = None
    high: float | None = None
    step: float | None = None

    def limit(self, low: float | None, high: float | None, step: float | None = None) -> None:
        """Set the smallest and the largest number, and the step from the smallest (else 0)."""
        if low is not None and high is not None:
            if low >= high:
                raise self.error(
                    f"goes from {low:g} to {high:g}, which leaves nothing to learn; "
                    "make the upper bound larger than the lower one"
                )
            self.bounds = (low, high)
        if step is not None and step <= 0:
            raise self.error(f"has the step {step:g}; make it larger than 0")
        self.low, self.high, self.step = low, high, step

    def number(self, name: str) -> float | None:
        """Read an attribute as a number; None when it is not set."""
        text = self.attribute(name)
        if text is None:
            return None
        try:
            number = finite(float(text))
        except ValueError:
            number = None
        if number is None:
            raise self.error(f'has {name}="{text}"; make it a number')
        return number

    def read(self, result: Sequence[Mapping[str, Any]]) -> float | None:
        for value in self.values(result):
            number = finite(value.get(self.tag.lower()))
            if number is not None and self._clip(number) == number:
                return number
        return None

    def write(self, label: float, score: float | None = None) -> list[dict[str, Any]]:
        number = finite(label)
        if number is None:
            return []
        return self.item({self.tag.lower(): self.nearest(number)}, score)

    def nearest(self, number: float) -> float:
        """Return the answer that the tag allows and that is nearest to a number."""
        number = self._clip(number)
        if self.step is None:
            return self._clip(float(f"{number:.6g}"))
        base = self.low or 0.0
        steps = round((number - base) / self.step)
        if self.high is not None:  # the upper bound need not be a whole number of steps away
            steps = min(steps, math.floor((self.high - base) / self.step + 1e-9))
        return float(f"{base + steps * self.step:.12g}")  # 0.3, not 0.30000000000000004

    def _clip(self, number: float) -> float:
        if self.low is not None:
            number = max(number, self.low)
        return number if self.high is None else min(number, self.high)


def finite(value: Any) -> float | None:
    """Return a number as float; None for anything else, and for NaN and infinities."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        return None
    return number if abs(number) <= LARGEST else None  # NaN is not smaller either
