"""Masks as Label Studio stores what is drawn by a brush: run-length coded pixels of an image.

The code is that of ``rle-pack`` of thi.ng/umbrella. The pixels are four bytes each, of which the
last says how opaque they are. Neither direction holds the pixels in memory: a few bytes can claim
very many.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from .masks import GRID, Mask, fill_squares

__all__ = ["is_image_size", "read_brush", "write_brush"]

MOST_BYTES = 1_000_000  # of a code that is read
MOST_RUNS = 200_000  # in it, which take half a second; of a photograph there are some thousands
LONGEST_SIDE = 30_000  # pixels
MOST_PIXELS = 100_000_000
CHANNELS = 4
RUN_BITS = (3, 4, 8, 16)  # of the lengths of runs, as Label Studio writes them
RUN = 2 ** RUN_BITS[-1]  # the longest


def is_image_size(width: Any, height: Any) -> bool:
    """Return whether two numbers are the sides of an image whose masks are read."""
    sides = (width, height)
    if not all(isinstance(one, int) and not isinstance(one, bool) for one in sides):
        return False
    return all(0 < one <= LONGEST_SIDE for one in sides) and width * height <= MOST_PIXELS


def read_brush(rle: Any, width: int, height: int) -> Mask | None:
    """Return the mask of a code; None where it is none of an image of that size.

    Pixels count that are opaque at all.
    """
    if not isinstance(rle, list) or not 0 < len(rle) <= MOST_BYTES:
        return None
    try:
        runs = np.array(list(_drawn(bytes(rle), width * height)), np.float64).reshape(-1, 2)
    except (ValueError, TypeError):
        return None
    return fill_squares(_shares(runs, width, height))


def write_brush(mask: Mask, width: int, height: int) -> list[int]:
    """Return the code of a mask in an image of some size."""
    across = np.arange(width) * GRID // width
    of_line = [_pieces(line[across]) for line in mask]
    pieces: list[list[int]] = []
    for row in range(height):
        for start, stop in of_line[row * GRID // height]:
            if pieces and pieces[-1][1] == row * width + start:
                pieces[-1][1] = row * width + stop
            else:
                pieces.append([row * width + start, row * width + stop])
    bits = [f"{width * height * CHANNELS:032b}00111"]
    bits += [f"{one - 1:04b}" for one in RUN_BITS]
    last = 0
    for start, stop in [*pieces, [width * height] * 2]:
        bits += _run(start - last, 0)
        bits += _run(stop - start, 255)
        last = stop
    code = "".join(bits)
    code += "0" * (-len(code) % 8)
    return list(int(code, 2).to_bytes(len(code) // 8, "big"))


def _shares(runs: npt.NDArray[np.float64], width: int, height: int) -> npt.NDArray[np.float64]:
    """Return the share of each square of the grid that is drawn, by runs of drawn pixels.

    How many pixels are drawn before each one is known, and so how many within 1 / GRID of a row.
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
    shares: npt.NDArray[np.float64] = np.diff(until, axis=0) * GRID * GRID / n
    return shares


def _pieces(line: Mask) -> list[list[int]]:
    """Return where what is drawn in a line begins and ends."""
    steps = np.diff(line.astype(np.int8), prepend=0, append=0)
    return np.flatnonzero(steps).reshape(-1, 2).tolist()


def _run(pixels: int, value: int) -> Iterator[str]:
    """Yield the bits of so many pixels of one value."""
    left = pixels * CHANNELS
    while left:
        n = min(left, RUN)
        yield f"111{n - 1:016b}{value:08b}"
        left -= n


def _drawn(code: bytes, pixels: int) -> Iterator[tuple[int, int]]:
    """Yield where runs of drawn pixels begin and end, in order.

    Raises
    ------
    ValueError
        When the code is none of so many pixels.
    """
    bits = _Bits(code)
    if bits.read(32) != pixels * CHANNELS or bits.read(5) != 7:
        raise ValueError("another number of pixels, or none of a byte a channel")
    lengths = [bits.read(4) + 1 for _ in range(4)]
    at, end, runs = 0, pixels * CHANNELS, 0
    while at < end:
        runs += 1
        if runs > MOST_RUNS:
            raise ValueError("more runs than are read")
        same = bits.read(1)
        n = bits.read(lengths[bits.read(2)]) + 1
        if at + n > end:
            raise ValueError("more pixels than it says")
        if same:
            if bits.read(8) and at // CHANNELS < (at + n) // CHANNELS:
                yield at // CHANNELS, (at + n) // CHANNELS
        else:
            values = bits.read(8 * n).to_bytes(n, "big")
            for place in range(-(at + 1) % CHANNELS, n, CHANNELS):
                if values[place]:
                    yield (at + place) // CHANNELS, (at + place) // CHANNELS + 1
        at += n


class _Bits:
    """Reads a code bit by bit."""

    def __init__(self, code: bytes) -> None:
        self._code, self._at = code, 0

    def read(self, n: int) -> int:
        first, at = self._at // 8, self._at + n
        last = -(-at // 8)
        if last > len(self._code):
            raise ValueError("it ends too early")
        self._at = at
        word = int.from_bytes(self._code[first:last], "big")
        return (word >> (8 * last - at)) & ((1 << n) - 1)
