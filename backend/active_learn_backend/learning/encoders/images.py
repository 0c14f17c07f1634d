"""Opens image files of unknown origin."""

from __future__ import annotations

import io

from PIL import Image, UnidentifiedImageError

from ...errors import ContentError

__all__ = ["MAX_MEGAPIXELS", "PROBE", "open_image"]

# Millions of pixels: 300 MB when decoded, more than any camera of today takes. A small file can
# claim far more (a decompression bomb), so the size is checked before.
MAX_MEGAPIXELS = 100.0
# Formats that browsers show, and a few of cameras and scanners. Pillow reads many more, some by
# other programs (EPS), some by parsers that hardly anybody uses.
Image.init()
FORMATS = tuple(
    name
    for name in ("PNG", "JPEG", "GIF", "WEBP", "AVIF", "BMP", "TIFF", "PPM")
    if name in Image.OPEN
)


def _gray_square() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (128, 128, 128)).save(file, "PNG")
    return file.getvalue()


PROBE = _gray_square()  #: An image file that shows what a model makes of images.


def open_image(data: bytes) -> Image.Image:
    """Decode an image (PNG, JPEG, ...) to RGB; its size is checked before it is decoded.

    Raises
    ------
    ContentError
        When it is none, damaged, or larger than `MAX_MEGAPIXELS`.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > MAX_MEGAPIXELS * 1e6:
            raise ContentError(
                f"an image has {image.width} x {image.height} pixels, more than the "
                f"{MAX_MEGAPIXELS:g} megapixels that are decoded; make it smaller"
            )
        return image.convert("RGB")
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ContentError(
            f"a file is no image that can be read; expected {', '.join(FORMATS)}"
        ) from error
    except (OSError, SyntaxError, ValueError) as error:
        raise ContentError(f"an image is damaged: {error}") from error
