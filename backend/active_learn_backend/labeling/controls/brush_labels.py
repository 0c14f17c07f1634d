"""``<BrushLabels>`` on ``<Image>``: masks, drawn by a brush."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..brush_rle import is_image_size, read_brush, write_brush
from ..masks import mask_of, shape_of
from ..regions import ScoredRegion
from .image_region_tag import ORIGINAL, ImageRegionTag

__all__ = ["BrushLabelsTag"]


class BrushLabelsTag(ImageRegionTag):
    """BrushLabels: a mask is read on a grid, and written in the size of its image.

    Label Studio shows no mask of another size, so the size is kept behind the mask.
    """

    tag = "BrushLabels"
    value_key = "brushlabels"
    shape = "mask"

    def borders(self, value: Mapping[str, Any]) -> tuple[Any, Any] | None:
        width, height = (value.get(key) for key in ORIGINAL)
        if value.get("format") != "rle" or not is_image_size(width, height):
            return None
        mask = read_brush(value.get("rle"), width, height)  # type: ignore[arg-type]
        shape = None if mask is None else shape_of(mask)
        return None if shape is None else (shape[0], (*shape[1], width, height))

    def payload(self, start: Any, end: Any, content: Any) -> dict[str, Any]:
        size = end[3:]
        coded = {"format": "rle", "rle": write_brush(mask_of(start, end), *size)}
        return coded | dict(zip(ORIGINAL, size, strict=True))

    def write_regions(
        self, regions: Sequence[ScoredRegion | Sequence[Any]], content: Any = None
    ) -> list[dict[str, Any]]:
        """Write regions; those of images that are too large are left out."""
        fitting = [one for one in regions if is_image_size(*one[1][3:])]
        return super().write_regions(fitting, content)
