"""Common base of the tags that label masks of one image."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from ..masks import Mask, is_image_size, mask_of, shape_of
from ..regions import ScoredRegion
from .image_region_tag import ORIGINAL, ImageRegionTag

__all__ = ["MaskTag"]

MOST_WORK = 4_000_000  # bytes of the codes of an annotation that are read


class MaskTag(ImageRegionTag):
    """A tag that labels masks: they are read on a grid, and written in the size of their image.

    Label Studio shows no mask of another size, so the size is kept behind the mask.
    """

    shape = "mask"

    @abstractmethod
    def decode(self, value: Mapping[str, Any]) -> tuple[Mask, int, int] | None:
        """Return the mask of a region, and the width and height of its image; None without."""

    @abstractmethod
    def encode(self, mask: Mask, width: int, height: int) -> dict[str, Any]:
        """Write a mask as the value of a region."""

    @abstractmethod
    def work(self, value: Mapping[str, Any]) -> int:
        """Return how much work it is to read a region, in bytes of its code."""

    def read(self, result: Sequence[Mapping[str, Any]]) -> list[list[Any]] | None:
        """Return the regions of an annotation; None where none can be read, or all are too many."""
        if sum(map(self.work, self.values(result))) > MOST_WORK:
            return None
        return super().read(result)

    def borders(self, value: Mapping[str, Any]) -> tuple[Any, Any] | None:
        if (found := self.decode(value)) is None:
            return None
        mask, *size = found
        shape = shape_of(mask)
        return None if shape is None else (shape[0], (*shape[1], *size))

    def payload(self, start: Any, end: Any, content: Any) -> dict[str, Any]:
        size = end[3:]
        return self.encode(mask_of(start, end), *size) | dict(zip(ORIGINAL, size, strict=True))

    def write_regions(
        self, regions: Sequence[ScoredRegion | Sequence[Any]], content: Any = None
    ) -> list[dict[str, Any]]:
        """Write regions; those of images that are too large are left out."""
        fitting = [one for one in regions if is_image_size(*one[1][3:])]
        return super().write_regions(fitting, content)
