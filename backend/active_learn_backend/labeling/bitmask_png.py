"""Masks as Label Studio stores those that are drawn pixel by pixel: a PNG as a data URL.

Its pixels are black where the mask is, and transparent elsewhere.
"""

from __future__ import annotations

import base64
import binascii
import io
import warnings
from typing import Any

import numpy as np
from PIL import Image

from .masks import GRID, MOST_RUNS, Mask, is_image_size, mask_of_runs

__all__ = ["read_bitmask", "size_of_bitmask", "write_bitmask"]

START = "data:image/png;base64,"
MOST_CHARACTERS = 1_400_000  # of a data URL that is read: a file of 1 MB
BLACK_AND_NOTHING = [0, 0, 0, 0, 0, 0]  # as a palette; the second is opaque


def size_of_bitmask(url: Any) -> tuple[int, int] | None:
    """Return the width and the height of a data URL's PNG; None where it is none that is read."""
    try:
        with _open(url) as image:
            return image.size if is_image_size(*image.size) else None
    except (OSError, ValueError, SyntaxError):
        return None


def read_bitmask(url: Any) -> tuple[Mask, int, int] | None:
    """Return the mask of a data URL, and its width and height; None where it is none.

    Pixels count that are opaque at all.
    """
    try:
        with _open(url) as image:
            width, height = image.size
            if not is_image_size(width, height):
                return None
            alpha = _alpha(image)
    except (OSError, ValueError, SyntaxError):
        return None
    drawn = (np.asarray(alpha) > 0).ravel()
    edges = np.flatnonzero(np.diff(drawn, prepend=False, append=False))
    if len(edges) > 2 * MOST_RUNS:
        return None
    return mask_of_runs(edges.reshape(-1, 2).astype(np.float64), width, height), width, height


def write_bitmask(mask: Mask, width: int, height: int) -> str:
    """Return the data URL of a mask in an image of some size."""
    rows, columns = (np.arange(n) * GRID // n for n in (height, width))
    image = Image.fromarray(mask[:, columns][rows].astype(np.uint8)).convert("P")
    image.putpalette(BLACK_AND_NOTHING)
    file = io.BytesIO()
    image.save(file, "PNG", bits=1, transparency=bytes([0, 255]))
    return START + base64.b64encode(file.getvalue()).decode()


def _open(url: Any) -> Image.Image:
    """Open a data URL's PNG, of which only the header is read.

    Raises
    ------
    OSError, ValueError, SyntaxError
        When it is none.
    """
    if not isinstance(url, str) or not url.startswith(START) or len(url) > MOST_CHARACTERS:
        raise ValueError("no data URL of a PNG, or too long a one")
    try:
        data = base64.b64decode(url[len(START) :], validate=True)
    except binascii.Error as error:
        raise ValueError("no base64") from error
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # its size is checked here
        try:
            return Image.open(io.BytesIO(data), formats=("PNG",))
        except Image.DecompressionBombError as error:
            raise ValueError("too many pixels") from error


def _alpha(image: Image.Image) -> Image.Image:
    """Return how opaque the pixels of an image are."""
    if not image.has_transparency_data:
        return Image.new("L", image.size, 255)
    return (image if "A" in image.getbands() else image.convert("RGBA")).getchannel("A")
