"""Images as samples of a model that reads the pixels of an image processor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import DataError
from .collate import described

__all__ = ["pixels_of"]


def pixels_of(processor: Any, samples: Any) -> Any:
    """Return the pixel values of images, of rows with one image, or those that samples have.

    Raises
    ------
    DataError
        When the samples are no images.
    """
    if isinstance(samples, list):
        samples = [only_image(row) for row in samples]
    ready = samples[0] if isinstance(samples, list) else samples
    if isinstance(ready, Mapping) and "pixel_values" not in ready:
        raise DataError(
            f"samples are {described(ready)}; expected images, or pixel_values as the image "
            "processor returns them"
        )
    if isinstance(ready, Mapping):
        rows = samples if isinstance(samples, list) else None
        return [row["pixel_values"] for row in rows] if rows else ready["pixel_values"]
    try:
        return processor(images=list(samples), return_tensors="pt")["pixel_values"]
    except (ValueError, TypeError) as error:
        raise DataError(f"the image processor refuses the samples: {error}") from error


def only_image(row: Any) -> Any:
    """Return the image of a row in which one value is an image; any other row as it is."""
    if not isinstance(row, Mapping) or "pixel_values" in row:
        return row
    images = [value for value in row.values() if hasattr(value, "getbands") or np.ndim(value) > 1]
    return images[0] if len(images) == 1 else row
