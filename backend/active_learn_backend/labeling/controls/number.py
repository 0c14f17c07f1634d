"""``<Number>``: any number, typed in or (``slider="true"``) set with a slider."""

from __future__ import annotations

from typing import Any
from xml.etree.ElementTree import Element

from .numeric import NumericTag

__all__ = ["NumberTag"]

SLIDER_BOUNDS = (0.0, 100.0)  # of a slider that is given none: what browsers draw


class NumberTag(NumericTag):
    """Number: regression, within ``min`` and ``max``, in steps of ``step`` where they are set."""

    tag = "Number"

    def __init__(self, control: Any, element: Element) -> None:
        super().__init__(control, element)
        low, high = self.number("min"), self.number("max")
        if self.is_true("slider"):
            low = SLIDER_BOUNDS[0] if low is None else low
            high = SLIDER_BOUNDS[1] if high is None else high
        self.limit(low, high, self.number("step"))
