"""``<PolygonLabels>`` on ``<Image>``: polygons in percent of the image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..masks import mask_of, outline, rasterise, shape_of
from .image_region_tag import ImageRegionTag, clip, is_number

__all__ = ["PolygonLabelsTag"]

MOST_POINTS = 10_000  # of a polygon that is read


class PolygonLabelsTag(ImageRegionTag):
    """PolygonLabels: a polygon is read as its mask, and written as the outline of one."""

    tag = "PolygonLabels"
    value_key = "polygonlabels"
    shape = "mask"

    def borders(self, value: Mapping[str, Any]) -> tuple[Any, Any] | None:
        points = value.get("points")
        if not isinstance(points, list) or not 3 <= len(points) <= MOST_POINTS:
            return None
        if not all(_is_point(one) for one in points):
            return None
        return shape_of(rasterise([(clip(x), clip(y)) for x, y in points]))

    def payload(self, start: Any, end: Any, content: Any) -> dict[str, Any]:
        return {"points": [list(at) for at in outline(mask_of(start, end))], "closed": True}


def _is_point(one: Any) -> bool:
    return isinstance(one, list | tuple) and len(one) == 2 and all(map(is_number, one))
