"""Masks as PNG data URLs, held against Pillow, and what is not read of untrusted ones."""

from __future__ import annotations

import base64
import io
import zlib
from typing import Any

import numpy as np
import pytest
from active_learn_backend.labeling.bitmask_png import (
    MOST_CHARACTERS,
    START,
    read_bitmask,
    size_of_bitmask,
    write_bitmask,
)
from active_learn_backend.labeling.brush_rle import read_brush, write_brush
from active_learn_backend.labeling.masks import GRID, MOST_RUNS, fill_squares, rasterise
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

SHAPE = rasterise([(10, 10), (60, 20), (50, 80), (20, 60)])


def url_of(image: Image.Image, **options: Any) -> str:
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return START + base64.b64encode(file.getvalue()).decode()


def decoded(url: str) -> Image.Image:
    """Return the image of a data URL as a browser shows it."""
    return Image.open(io.BytesIO(base64.b64decode(url.removeprefix(START)))).convert("RGBA")


def claiming(url: str, width: int, height: int) -> str:
    """Return a data URL whose PNG claims another size, with a checksum that is right."""
    data = bytearray(base64.b64decode(url.removeprefix(START)))
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return START + base64.b64encode(data).decode()


@pytest.mark.parametrize(("width", "height"), [(64, 64), (200, 131), (33, 50), (1, 1), (500, 7)])
def test_what_is_written_is_black_on_nothing_and_comes_back(width: int, height: int) -> None:
    url = write_bitmask(SHAPE, width, height)
    pixels = np.asarray(decoded(url))
    rows, columns = (np.arange(n) * GRID // n for n in (height, width))
    assert np.array_equal(pixels[:, :, 3], SHAPE[np.ix_(rows, columns)] * 255)
    assert not pixels[:, :, :3].any()
    assert size_of_bitmask(url) == (width, height)
    mask, *size = read_bitmask(url)  # type: ignore[misc]
    assert size == [width, height]
    assert np.array_equal(mask, read_brush(write_brush(SHAPE, width, height), width, height))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_pixels_count_that_are_opaque_at_all(mode: str) -> None:
    rng = np.random.default_rng(0)
    opaque = (rng.integers(0, 256, (24, 40)) * (rng.random((24, 40)) < 0.5)).astype(np.uint8)
    black = np.zeros_like(opaque)
    image = Image.merge("RGBA", [Image.fromarray(one) for one in (black, black, black, opaque)])
    if mode == "PA":  # a palette whose entries are opaque or not
        image = Image.fromarray((opaque > 0).astype(np.uint8)).convert("P")
        image.putpalette([0] * 6)
        url = url_of(image, transparency=bytes([0, 1]))
    else:
        url = url_of(image.convert(mode))
    found = read_bitmask(url)
    assert found is not None
    fine = np.kron(opaque > 0, np.ones((GRID, GRID)))
    expected = fill_squares(fine.reshape(GRID, 24, GRID, 40).mean(axis=(1, 3)))
    assert np.array_equal(found[0], expected)


def test_without_transparency_all_of_it_is_drawn() -> None:
    mask, *size = read_bitmask(url_of(Image.new("RGB", (30, 20))))  # type: ignore[misc]
    assert mask.all()
    assert size == [30, 20]


def test_what_is_no_such_file_is_not_read() -> None:
    url = write_bitmask(SHAPE, 64, 64)
    jpeg = io.BytesIO()
    Image.new("RGB", (8, 8)).save(jpeg, "JPEG")
    for bad in (
        None,
        7,
        [url],
        "",
        START,
        url[:-40],
        url.replace("png", "svg+xml"),
        f"{url} ",
        START + "%%%",
        START + base64.b64encode(jpeg.getvalue()).decode(),
        claiming(url, 20_000, 20_000),
        claiming(url, 2**31 - 1, 2**31 - 1),
        claiming(url, 0, 5),
    ):
        assert read_bitmask(bad) is None, bad
    assert size_of_bitmask(claiming(url, 20_000, 20_000)) is None
    assert read_bitmask(url + "A" * MOST_CHARACTERS) is None


def test_a_mask_of_very_many_runs_is_not_read() -> None:
    side = 1000
    noise = np.arange(side * side).reshape(side, side) % 2
    opaque = (noise * 255).astype(np.uint8)
    black = Image.new("L", (side, side))

    def read(rows: int) -> Any:
        some = np.zeros_like(opaque)
        some[:rows] = opaque[:rows]
        return read_bitmask(url_of(Image.merge("LA", [black, Image.fromarray(some)])))

    assert read(10) is not None
    assert read(2 * MOST_RUNS // side + 1) is None


@given(st.binary(max_size=200), st.integers(0, 150))
def test_damaged_files_are_a_mask_or_none(noise: bytes, at: int) -> None:
    data = bytearray(base64.b64decode(write_bitmask(SHAPE, 70, 60).removeprefix(START)))
    data[at : at + len(noise)] = noise
    found = read_bitmask(START + base64.b64encode(data).decode())
    assert found is None or found[0].shape == (GRID, GRID)
