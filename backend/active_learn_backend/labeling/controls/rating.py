"""``<Rating>``: a number of stars."""

from __future__ import annotations

import re
from typing import Any
from xml.etree.ElementTree import Element

from .numeric import NumericTag

__all__ = ["RatingTag"]


class RatingTag(NumericTag):
    """Rating: regression from one star to ``maxRating``; no star at all is no answer."""

    tag = "Rating"

    def __init__(self, control: Any, element: Element) -> None:
        super().__init__(control, element)
        stars = self.attribute("maxRating") or "5"
        if not re.fullmatch("[0-9]{1,4}", stars):
            raise self.error(f'has maxRating="{stars}"; make it a whole number')
        self.limit(1.0, float(stars), step=1.0)

    def nearest(self, number: float) -> int:
        return int(super().nearest(number))
