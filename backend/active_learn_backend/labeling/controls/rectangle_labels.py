"""``<RectangleLabels>`` on ``<Image>``: boxes in percent of the image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .image_region_tag import Corner, ImageRegionTag, enclosing_box, is_number, ratio_of

__all__ = ["RectangleLabelsTag"]


class RectangleLabelsTag(ImageRegionTag):
    """RectangleLabels: a box is read as its corners, a turned one as what encloses it."""

    tag = "RectangleLabels"
    value_key = "rectanglelabels"

    def borders(self, value: Mapping[str, Any]) -> tuple[Corner, Corner] | None:
        """Return the upper left and the lower right corner, in percent, clipped to the image."""
        numbers = [value.get(key) for key in ("x", "y", "width", "height")]
        if not all(is_number(one) for one in numbers):
            return None
        x, y, width, height = map(float, numbers)  # type: ignore[arg-type]
        turned = value.get("rotation")
        corners = [(x, y), (x + width, y), (x, y + height), (x + width, y + height)]
        if is_number(turned) and turned % 360:
            ratio = ratio_of(value)
            corners = [_turn(one, (x, y), turned, ratio) for one in corners]
        return enclosing_box(corners)

    def payload(self, start: Any, end: Any, content: Any) -> dict[str, Any]:
        (left, top), (right, bottom) = start, end
        box = {"x": left, "y": top, "width": right - left, "height": bottom - top}
        return {**{name: round(number, 3) for name, number in box.items()}, "rotation": 0}


def _turn(corner: Corner, around: Corner, degrees: float, ratio: float) -> Corner:
    """Turn a corner clockwise around another one, as Label Studio does around the upper left."""
    angle = math.radians(degrees)
    x, y = corner[0] - around[0], (corner[1] - around[1]) * ratio
    return (
        around[0] + x * math.cos(angle) - y * math.sin(angle),
        around[1] + (x * math.sin(angle) + y * math.cos(angle)) / ratio,
    )
