"""``<RectangleLabels>`` on ``<Image>``: boxes in percent of the image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from .region_tag import RegionTag

__all__ = ["RectangleLabelsTag"]

Corner = tuple[float, float]
ORIGINAL = ("original_width", "original_height")
LARGEST = 1e9  # number that is read


class RectangleLabelsTag(RegionTag):
    """RectangleLabels: a box is read as its corners, a turned one as what encloses it."""

    tag = "RectangleLabels"
    objects = ("Image",)
    value_key = "rectanglelabels"

    def check_objects(self, objects: Sequence[Any]) -> None:
        super().check_objects(objects)
        if any(name.lower() == "valuelist" for name in objects[0].attr):
            raise self.error("labels boxes in several images of a task (valueList); show one image")

    def values(self, result: Any) -> list[Mapping[str, Any]]:
        """Pick the values of this control, each with the size of its image."""
        sized = [
            item | {"value": {**{key: item.get(key) for key in ORIGINAL}, **item["value"]}}
            for item in (result if isinstance(result, list) else [])
            if isinstance(item, dict) and isinstance(item.get("value"), dict)
        ]
        return super().values(sized)

    def borders(self, value: Mapping[str, Any]) -> tuple[Corner, Corner] | None:
        """Return the upper left and the lower right corner, in percent, clipped to the image."""
        numbers = [value.get(key) for key in ("x", "y", "width", "height")]
        if not all(_is_number(one) for one in numbers):
            return None
        x, y, width, height = map(float, numbers)  # type: ignore[arg-type]
        turned = value.get("rotation")
        corners = [(x, y), (x + width, y), (x, y + height), (x + width, y + height)]
        if _is_number(turned) and float(turned) % 360:  # type: ignore[arg-type]
            ratio = _ratio(value)
            corners = [_turn(one, (x, y), float(turned), ratio) for one in corners]  # type: ignore[arg-type]
        low, high = (
            (round(_clip(of(c[0] for c in corners)), 3), round(_clip(of(c[1] for c in corners)), 3))
            for of in (min, max)
        )
        return (low, high) if low[0] < high[0] and low[1] < high[1] else None

    def payload(self, start: Any, end: Any, content: Any) -> dict[str, Any]:
        (left, top), (right, bottom) = start, end
        box = {"x": left, "y": top, "width": right - left, "height": bottom - top}
        return {**{name: round(number, 3) for name, number in box.items()}, "rotation": 0}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST


def _clip(percent: float) -> float:
    return min(100.0, max(0.0, percent))


def _ratio(value: Mapping[str, Any]) -> float:
    """Return the height of the image as a share of its width; 1 where it is not known."""
    width, height = (value.get(key) for key in ORIGINAL)
    known = _is_number(width) and _is_number(height) and width > 0 and height > 0  # type: ignore[operator]
    return float(height) / float(width) if known else 1.0  # type: ignore[arg-type]


def _turn(corner: Corner, around: Corner, degrees: float, ratio: float) -> Corner:
    """Turn a corner clockwise around another one, as Label Studio does around the upper left."""
    angle = math.radians(degrees)
    x, y = corner[0] - around[0], (corner[1] - around[1]) * ratio
    return (
        around[0] + x * math.cos(angle) - y * math.sin(angle),
        around[1] + (x * math.sin(angle) + y * math.cos(angle)) / ratio,
    )
