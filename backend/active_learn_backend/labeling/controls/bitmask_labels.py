"""``<BitmaskLabels>`` on ``<Image>``: masks, drawn pixel by pixel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..bitmask_png import read_bitmask, size_of_bitmask, write_bitmask
from ..masks import Mask
from .mask_tag import MaskTag

__all__ = ["BitmaskLabelsTag"]

PIXELS = 100  # that take as long to be read as a byte of a code


class BitmaskLabelsTag(MaskTag):
    """BitmaskLabels: the pixels of an image as a PNG, whose size is that of the image."""

    tag = "BitmaskLabels"
    value_key = "bitmasklabels"

    def decode(self, value: Mapping[str, Any]) -> tuple[Mask, int, int] | None:
        return read_bitmask(value.get("imageDataURL"))

    def encode(self, mask: Mask, width: int, height: int) -> dict[str, Any]:
        return {"imageDataURL": write_bitmask(mask, width, height)}

    def work(self, value: Mapping[str, Any]) -> int:
        url = value.get("imageDataURL")
        width, height = size_of_bitmask(url) or (0, 0)
        return max(len(url) if isinstance(url, str) else 0, width * height // PIXELS)
