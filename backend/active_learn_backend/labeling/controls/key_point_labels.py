"""``<KeyPointLabels>`` on ``<Image>``: points in percent of the image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .image_region_tag import Corner, ImageRegionTag, is_number

__all__ = ["KeyPointLabelsTag"]

DRAWN = 1  # percent of the width: the size in which Label Studio draws a proposed point


class KeyPointLabelsTag(ImageRegionTag):
    """KeyPointLabels: a point has the same place as its start and as its end."""

    tag = "KeyPointLabels"
    value_key = "keypointlabels"
    shape = "point"

    def borders(self, value: Mapping[str, Any]) -> tuple[Corner, Corner] | None:
        x, y = value.get("x"), value.get("y")
        if not (is_number(x) and is_number(y)) or not (0 <= x <= 100 and 0 <= y <= 100):
            return None
        point = round(float(x), 3), round(float(y), 3)
        return point, point

    def payload(self, start: Any, end: Any, content: Any) -> dict[str, Any]:
        x, y = start
        return {"x": round(x, 3), "y": round(y, 3), "width": DRAWN}
