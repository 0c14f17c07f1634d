"""``<Slider>``: a number set with a slider, in configs of custom interfaces.

Label Studio 1.23's own interface draws no such tag (its slider is ``<Number slider="true">``), but
its server takes the config, its annotations and its predictions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree.ElementTree import Element

from .number import SLIDER_BOUNDS
from .numeric import NumericTag

__all__ = ["SliderTag"]


class SliderTag(NumericTag):
    """Slider: regression from ``min`` to ``max`` (0 to 100), in steps of ``step``."""

    tag = "Slider"

    def __init__(self, control: Any, element: Element) -> None:
        super().__init__(control, element)
        low, high = self.number("min"), self.number("max")
        low = SLIDER_BOUNDS[0] if low is None else low
        high = SLIDER_BOUNDS[1] if high is None else high
        self.limit(low, high, self.number("step"))

    def values(self, result: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Return the values, also of interfaces that name the number as Number does."""
        return [
            {"slider": value.get("slider", value.get("number"))} for value in super().values(result)
        ]
