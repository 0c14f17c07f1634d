"""``<EllipseLabels>`` on ``<Image>``: ellipses in percent of the image."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .image_region_tag import Corner, ImageRegionTag, enclosing_box, is_number, ratio_of

__all__ = ["EllipseLabelsTag"]


class EllipseLabelsTag(ImageRegionTag):
    """EllipseLabels: an ellipse is read as the box around it, and written as the one in a box."""

    tag = "EllipseLabels"
    value_key = "ellipselabels"

    def borders(self, value: Mapping[str, Any]) -> tuple[Corner, Corner] | None:
        """Return the upper left and the lower right corner, in percent, clipped to the image."""
        numbers = [value.get(key) for key in ("x", "y", "radiusX", "radiusY")]
        if not all(is_number(one) for one in numbers):
            return None
        x, y, across, down = map(float, numbers)  # type: ignore[arg-type]
        if across <= 0 or down <= 0:
            return None
        turned = value.get("rotation")
        if is_number(turned) and turned % 180:
            angle, ratio = math.radians(turned), ratio_of(value)
            cos, sin = math.cos(angle), math.sin(angle)
            tall = down * ratio
            across, down = (
                math.hypot(across * cos, tall * sin),
                math.hypot(across * sin, tall * cos) / ratio,
            )
        return enclosing_box([(x - across, y - down), (x + across, y + down)])

    def path(self, start: Any, end: Any) -> str:
        (left, top), (right, bottom) = start, end
        arc = f"A{(right - left) / 2:.5g} {(bottom - top) / 2:.5g} 0 1 1"
        middle = f"{(top + bottom) / 2:.5g}"
        return f"M{left:.5g} {middle}{arc} {right:.5g} {middle}{arc} {left:.5g} {middle}Z"

    def payload(self, start: Any, end: Any, content: Any) -> dict[str, Any]:
        (left, top), (right, bottom) = start, end
        center = {"x": (left + right) / 2, "y": (top + bottom) / 2}
        radii = {"radiusX": (right - left) / 2, "radiusY": (bottom - top) / 2}
        return {**{name: round(one, 3) for name, one in (center | radii).items()}, "rotation": 0}
