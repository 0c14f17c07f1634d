"""``<BrushLabels>`` on ``<Image>``: masks, drawn by a brush."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..brush_rle import read_brush, write_brush
from ..masks import Mask, is_image_size
from .image_region_tag import ORIGINAL
from .mask_tag import MaskTag

__all__ = ["BrushLabelsTag"]


class BrushLabelsTag(MaskTag):
    """BrushLabels: the pixels of an image as a run-length code."""

    tag = "BrushLabels"
    value_key = "brushlabels"

    def decode(self, value: Mapping[str, Any]) -> tuple[Mask, int, int] | None:
        width, height = (value.get(key) for key in ORIGINAL)
        if value.get("format") != "rle" or not is_image_size(width, height):
            return None
        assert isinstance(width, int)
        assert isinstance(height, int)
        mask = read_brush(value.get("rle"), width, height)
        return None if mask is None else (mask, width, height)

    def encode(self, mask: Mask, width: int, height: int) -> dict[str, Any]:
        return {"format": "rle", "rle": write_brush(mask, width, height)}

    def work(self, value: Mapping[str, Any]) -> int:
        code = value.get("rle")
        return len(code) if isinstance(code, list) else 0
