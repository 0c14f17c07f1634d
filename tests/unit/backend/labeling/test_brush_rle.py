"""Masks of a brush in Label Studio's code, held against the code of its SDK."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from active_learn_backend.labeling.brush_rle import read_brush, write_brush
from active_learn_backend.labeling.masks import GRID, MOST_RUNS, is_image_size, rasterise
from hypothesis import given, settings
from hypothesis import strategies as st
from label_studio_sdk.converter.brush import decode_rle, encode_rle

SHAPE = rasterise([(10, 10), (60, 20), (50, 80), (20, 60)])


def pixels_of(mask: npt.NDArray[Any], width: int, height: int) -> npt.NDArray[Any]:
    """Return a mask in the size of an image, four bytes a pixel."""
    rows, columns = (np.arange(n) * GRID // n for n in (height, width))
    return np.repeat(mask[np.ix_(rows, columns)][:, :, None] * 255, 4, axis=2).astype(np.uint8)


@pytest.mark.parametrize(("width", "height"), [(64, 64), (200, 131), (33, 50), (1, 1), (500, 7)])
def test_what_is_written_is_what_the_sdk_reads(width: int, height: int) -> None:
    code = write_brush(SHAPE, width, height)
    found = decode_rle(code).reshape(height, width, 4)
    assert np.array_equal(found, pixels_of(SHAPE, width, height))


def test_masks_of_large_images_come_back() -> None:
    for size in ((640, 480), (4000, 3000), (300, 9000)):
        code = write_brush(SHAPE, *size)
        found = read_brush(code, *size)
        assert found is not None
        assert np.array_equal(found, SHAPE)
        assert len(code) < 60_000


@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.02, 0.5, 0.98]),
)
@settings(max_examples=40, deadline=None)
def test_what_the_sdk_writes_is_read(width: int, height: int, seed: int, share: float) -> None:
    """Also pixels that are half transparent, and each alone."""
    rng = np.random.default_rng(seed)
    opaque = rng.integers(0, 256, (height, width)) * (rng.random((height, width)) < share)
    pixels = np.repeat(opaque[:, :, None], 4, axis=2).astype(np.uint8)
    pixels[:, :, :3] = rng.integers(0, 256, 3)
    found = read_brush([int(one) for one in encode_rle(pixels.ravel())], width, height)
    # Each pixel as 64 x 64, so that a square of the grid is as many small ones as there are pixels.
    fine = np.kron(opaque > 0, np.ones((GRID, GRID)))
    covered = fine.reshape(GRID, height, GRID, width).mean(axis=(1, 3))
    assert found is not None
    clear = np.abs(covered - min(0.5, covered.max())) > 1e-9
    expected = (covered >= min(0.5, covered.max())) & (covered > 0)
    assert np.array_equal(found[clear], expected[clear])


def test_what_claims_more_than_it_holds_is_not_read() -> None:
    code = write_brush(SHAPE, 64, 64)
    huge = list((2**32 - 1).to_bytes(4, "big")) + code[4:]
    for bad in (
        code[:-2],
        code[:5],
        huge,
        [],
        [256],
        [-1],
        ["1"],
        [1.5],
        [None],
        "text",
        None,
        {"a": 1},
        [0] * 2_000_000,
    ):
        assert read_brush(bad, 64, 64) is None
    assert read_brush(code, 64, 65) is None
    longer = f"{4:032b}00111" + "0010001101111111" + "111" + "1" * 16 + "1" * 8
    bits = longer.ljust(-(-len(longer) // 8) * 8, "0")
    assert read_brush(list(int(bits, 2).to_bytes(len(bits) // 8, "big")), 1, 1) is None


def test_a_code_of_very_many_runs_is_not_read() -> None:
    """A region of 1 MB took almost three seconds: as many runs of a few bytes as fit in."""

    def runs(n: int) -> list[int]:
        side = 1000  # the rest of its pixels is claimed by long runs of nothing
        bits = [f"{side * side * 4:032b}00111" + "".join(f"{one - 1:04b}" for one in (3, 4, 8, 16))]
        bits += ["100" + "011" + f"{255 * (at % 2):08b}" for at in range(n)]  # four bytes each
        rest = side * side * 4 - 4 * n
        while rest:
            some = min(rest, 2**16)
            bits.append(f"111{some - 1:016b}" + "0" * 8)
            rest -= some
        code = "".join(bits)
        code += "0" * (-len(code) % 8)
        return list(int(code, 2).to_bytes(len(code) // 8, "big"))

    assert read_brush(runs(1000), 1000, 1000) is not None
    assert read_brush(runs(MOST_RUNS + 1), 1000, 1000) is None


def test_sizes_of_images_are_limited() -> None:
    assert is_image_size(10_000, 10_000)
    for size in ((0, 5), (5, -1), (2, 30_001), (20_000, 20_000), (1.0, 1), (True, 1), (None, 1)):
        assert not is_image_size(*size)
