"""Common base of the tags that label regions of one image, in percent of its sides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard

from ..masks import mask_of, outline
from .region_tag import RegionTag

__all__ = ["ORIGINAL", "Corner", "ImageRegionTag", "clip", "enclosing_box", "is_number", "ratio_of"]

Corner = tuple[float, float]
ORIGINAL = ("original_width", "original_height")
LARGEST = 1e9  # number that is read


class ImageRegionTag(RegionTag):
    """A tag that labels regions of an image, in percent of its width and its height."""

    shape = "box"
    objects = ("Image",)

    def check_objects(self, objects: Sequence[Any]) -> None:
        super().check_objects(objects)
        if any(name.lower() == "valuelist" for name in objects[0].attr):
            raise self.error("labels regions of several images (valueList); show one image")

    def named(self, start: Any, end: Any) -> str:
        if start == end:
            return f"x {start[0]:.0f} %, y {start[1]:.0f} %"
        (left, top), (right, bottom) = start, end[:2]
        return f"x {left:.0f} to {right:.0f} %, y {top:.0f} to {bottom:.0f} %"

    def path(self, start: Any, end: Any) -> str:
        if start == end:
            return f"M{start[0]:.5g} {start[1]:.5g}h0"
        (left, top), (right, bottom) = start, end[:2]
        corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
        if len(end) > 2:
            corners = outline(mask_of(start, end))
        return f"M{'L'.join(f'{x:.5g} {y:.5g}' for x, y in corners)}Z"

    def values(self, result: Any) -> list[Mapping[str, Any]]:
        """Pick the values of this control, each with the size of its image."""
        sized = [
            item | {"value": {**{key: item.get(key) for key in ORIGINAL}, **item["value"]}}
            for item in (result if isinstance(result, list) else [])
            if isinstance(item, dict) and isinstance(item.get("value"), dict)
        ]
        return super().values(sized)

    def item(self, value: Mapping[str, Any], score: float | None) -> list[dict[str, Any]]:
        """Wrap a value, with the size of its image beside it where it has one."""
        bare = {key: one for key, one in value.items() if key not in ORIGINAL}
        size = {key: value[key] for key in ORIGINAL if key in value}
        return [one | size for one in super().item(bare, score)]


def is_number(value: Any, most: float = LARGEST) -> TypeGuard[int | float]:
    """Return whether a value is a number that can be read."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < most


def ratio_of(value: Mapping[str, Any]) -> float:
    """Return the height of the image as a share of its width; 1 where it is not known."""
    width, height = (value.get(key) for key in ORIGINAL)
    if is_number(width) and is_number(height) and width > 0 and height > 0:
        return float(height) / float(width)
    return 1.0


def enclosing_box(corners: Iterable[Corner]) -> tuple[Corner, Corner] | None:
    """Return the upper left and the lower right corner around some points, within the image.

    None where nothing of it lies in the image.
    """
    x, y = zip(*corners, strict=True)
    left, top = (round(clip(min(of)), 3) for of in (x, y))
    right, bottom = (round(clip(max(of)), 3) for of in (x, y))
    return ((left, top), (right, bottom)) if left < right and top < bottom else None


def clip(percent: float) -> float:
    """Return a number of percent within the image."""
    return min(100.0, max(0.0, percent))
