"""Opens image files of unknown origin."""

from __future__ import annotations

import io

from PIL import Image, UnidentifiedImageError

from ...errors import ContentError

__all__ = ["PROBE", "open_image"]


def _gray_square() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (128, 128, 128)).save(file, "PNG")
    return file.getvalue()


PROBE = _gray_square()  #: An image file that shows what a model makes of images.


def open_image(data: bytes, max_megapixels: float) -> Image.Image:
    """Decode an image (PNG, JPEG, ...) to RGB; its size is checked before it is decoded.

    Raises
    ------
    ContentError
        When it is none, damaged, or larger than ``max_megapixels`` (millions of pixels).
    """
    try:
        image = Image.open(io.BytesIO(data))
        if image.width * image.height > max_megapixels * 1e6:
            raise ContentError(
                f"an image has {image.width} x {image.height} pixels, more than the "
                f"{max_megapixels:g} megapixels of MAX_IMAGE_MEGAPIXELS"
            )
        return image.convert("RGB")
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ContentError("a file is no image that can be read") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise ContentError(f"an image is damaged: {error}") from error
