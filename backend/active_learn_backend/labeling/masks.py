"""Shapes in an image, as masks on a grid that is as fine for each image, large or small.

A shape is kept as its upper left corner, and its lower right corner with the bits of the mask in
between, and perhaps the size of the image in pixels: so it takes few bytes, however many points or
pixels it was drawn with.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy.ndimage import label

__all__ = [
    "GRID",
    "MOST_RUNS",
    "Mask",
    "fill_squares",
    "is_image_size",
    "mask_of",
    "mask_of_runs",
    "mask_overlap",
    "outline",
    "rasterise",
    "shape_of",
]

Mask = npt.NDArray[np.bool_]
Points = Sequence[tuple[float, float]]
Shape = tuple[tuple[float, float], tuple[float, float, str]]

GRID = 64  # squares along the width and along the height of an image
MOST_RUNS = 200_000  # of a mask, which take half a second; of a photograph there are some thousands
LONGEST_SIDE = 30_000  # pixels of an image whose masks are read
MOST_PIXELS = 100_000_000
FINE = 4  # times finer a polygon is drawn
STEP = 100 / GRID  # percent; as a binary fraction it is exact

# The sides of a square, clockwise: the neighbor behind it, and the corners that it joins (y, x).
SIDES = (
    ((-1, 0), (0, 0), (0, 1)),
    ((0, 1), (0, 1), (1, 1)),
    ((1, 0), (1, 1), (1, 0)),
    ((0, -1), (1, 0), (0, 0)),
)


def rasterise(points: Points) -> Mask:
    """Return the mask of a polygon in percent; what crosses itself is in by the even-odd rule."""
    drawn = Image.new("L", (GRID * FINE, GRID * FINE))
    scaled = [(x / STEP * FINE - 0.5, y / STEP * FINE - 0.5) for x, y in points]
    ImageDraw.Draw(drawn).polygon(scaled, fill=1)
    share = np.asarray(drawn, np.float32).reshape(GRID, FINE, GRID, FINE).mean(axis=(1, 3))
    return fill_squares(share)


def fill_squares(share: npt.NDArray[Any]) -> Mask:
    """Return the mask of a shape by the share of each square of the grid that it covers.

    A square is in if half of it or more is; of a shape without such a one those are that it covers
    most of.
    """
    most = float(share.max())
    return share >= min(0.5, most) if most > 0 else np.zeros((GRID, GRID), bool)


def mask_of_runs(runs: npt.NDArray[Any], width: int, height: int) -> Mask:
    """Return the mask of the pixels of an image that are drawn.

    How many pixels are drawn before each one is known, and so how many within 1 / GRID of a row.

    Parameters
    ----------
    runs : array of shape (n, 2)
        The first pixel of each run, and the one behind it, counted row by row.
    """
    n = width * height
    starts, ends = np.append(runs, [[n, n]], axis=0).T
    before = np.concatenate([[0], np.cumsum(ends - starts)])
    at = np.arange(height)[:, None] * width + np.arange(GRID + 1) * width / GRID
    run = np.searchsorted(starts, at, side="right") - 1
    counted = np.where(run >= 0, before[run] + np.minimum(at, ends[run]) - starts[run], 0)
    rows = np.diff(counted, axis=1)
    above = np.concatenate([np.zeros((1, GRID)), np.cumsum(rows, axis=0)])
    lines = np.arange(GRID + 1) * height / GRID
    whole = np.minimum(lines.astype(np.int64), height - 1)
    part = (lines - whole)[:, None]
    until = above[whole] * (1 - part) + above[whole + 1] * part
    return fill_squares(np.diff(until, axis=0) * GRID * GRID / n)


def is_image_size(width: Any, height: Any) -> bool:
    """Return whether two numbers are the sides of an image whose masks are read."""
    sides = (width, height)
    if not all(isinstance(one, int) and not isinstance(one, bool) for one in sides):
        return False
    return all(0 < one <= LONGEST_SIDE for one in sides) and width * height <= MOST_PIXELS


def shape_of(mask: Mask) -> Shape | None:
    """Return a mask as the borders of a region; None where it is empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    (top, bottom), (left, right) = ((int(at[0]), int(at[-1]) + 1) for at in (rows, columns))
    bits = np.packbits(mask[top:bottom, left:right]).tobytes().hex()
    return (left * STEP, top * STEP), (right * STEP, bottom * STEP, bits)


def mask_of(start: Sequence[Any], end: Sequence[Any]) -> Mask:
    """Return the mask of a region, see `shape_of`."""
    left, top, right, bottom = (round(at / STEP) for at in (*start, *end[:2]))
    mask = np.zeros((GRID, GRID), bool)
    size = (bottom - top) * (right - left)
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(end[2]), np.uint8), count=size)
    mask[top:bottom, left:right] = bits.reshape(bottom - top, right - left)
    return mask


def mask_overlap(first: Shape, second: Shape) -> float:
    """Return the share of the union of two shapes in which they overlap."""
    one, other = _bits(*first), _bits(*second)
    return (one & other).bit_count() / (one | other).bit_count()


def outline(mask: Mask) -> list[tuple[float, float]]:
    """Return the outer border of the largest piece of a mask as a polygon in percent."""
    numbered, _ = label(mask)
    largest = numbered == np.argmax(np.bincount(numbered[mask]))
    beyond = np.pad(largest, 1)
    ways: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for y, x in np.argwhere(largest).tolist():
        for (down, across), a, b in SIDES:
            if not beyond[y + 1 + down, x + 1 + across]:
                ways.setdefault((y + a[0], x + a[1]), []).append((y + b[0], x + b[1]))
    first = min(ways)
    at, corners, heading = first, [], (-1, 0)
    while True:
        right = (heading[1], -heading[0])  # where two squares touch by a corner, stay at the one
        after = max(ways[at], key=lambda to, at=at, right=right: _dot(at, to, right))  # type: ignore[misc]
        turned = (after[0] - at[0], after[1] - at[1])
        if turned != heading:
            corners.append((at[1] * STEP, at[0] * STEP))
        at, heading = after, turned
        if at == first:
            return corners


def _dot(at: tuple[int, int], to: tuple[int, int], way: tuple[int, int]) -> int:
    return (to[0] - at[0]) * way[0] + (to[1] - at[1]) * way[1]


@lru_cache(maxsize=4096)
def _bits(start: Any, end: Any) -> int:
    return int.from_bytes(np.packbits(mask_of(start, end)).tobytes(), "big")
