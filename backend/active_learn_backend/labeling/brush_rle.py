"""Masks as Label Studio stores what is drawn by a brush: run-length coded pixels of an image.

The code is that of ``rle-pack`` of thi.ng/umbrella. The pixels are four bytes each, of which the
last says how opaque they are. Neither direction holds the pixels in memory: a few bytes can claim
very many.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .masks import GRID, MOST_RUNS, Mask, mask_of_runs

__all__ = ["MOST_BYTES", "read_brush", "write_brush"]

MOST_BYTES = 1_000_000  # of a code that is read
CHANNELS = 4
RUN_BITS = (3, 4, 8, 16)  # of the lengths of runs, as Label Studio writes them
RUN = 2 ** RUN_BITS[-1]  # the longest


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
    return mask_of_runs(runs, width, height)


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
