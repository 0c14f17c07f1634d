"""Opens image files of unknown origin."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ...errors import ContentError

if TYPE_CHECKING:
    import torch  # takes seconds to import

__all__ = ["MAX_MEGAPIXELS", "PROBE", "image_suffix", "open_image", "pixels_of"]

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
# How files begin that are often taken for images, and what helps.
KNOWN = {
    rb"(?=.*<svg\b)(<\?xml|<!--|<!doctype svg|<svg)": "SVG (convert it to PNG)",
    rb".{4}ftyp(heic|heix|hevc|heim|heis|mif1|msf1)": "HEIC (convert it to JPEG)",
    rb"\0\0\0\x0cJXL |\xff\x0a": "JPEG XL (convert it to PNG)",
    rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51": "JPEG 2000 (convert it to PNG)",
    rb"%PDF-": "PDF (show it by <Pdf>)",
    rb".{4}ftyp": "MP4 (show it by <Video> or <Audio>)",
    rb"<(!doctype html|html|head|body)\b": "a web page (is a login needed?)",
    rb"[{\[]": "JSON (is the address one of an API?)",
    rb"8BPS": "Photoshop's PSD (convert it to PNG)",
    rb".{128}DICM": "DICOM (convert it to PNG)",
}


def _gray_square() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (128, 128, 128)).save(file, "PNG")
    return file.getvalue()


PROBE = _gray_square()  #: An image file that shows what a model makes of images.


def open_image(data: bytes) -> Image.Image:
    """Decode an image (PNG, JPEG, ...) to RGB, as Label Studio shows it.

    Its size is checked before it is decoded. It is turned as its EXIF data says, 16 bits are scaled
    to 8, what is transparent becomes white, and of an animation the first image counts.

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
                f"{MAX_MEGAPIXELS:g} megapixels that are decoded; make it smaller",
                cause="an image has too many pixels",
            )
        return _flat(_eight_bits(ImageOps.exif_transpose(image)))
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ContentError(f"a file is {_name_of(data)}; expected {', '.join(FORMATS)}") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise ContentError(f"an image is damaged: {error}", cause="an image is damaged") from error


def image_suffix(data: bytes) -> str:
    """Return how the name of an image file ends, such as ``.png``.

    Raises
    ------
    ContentError
        When it is no image.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return f".{image.format}".lower()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ContentError(f"a file is {_name_of(data)}; expected {', '.join(FORMATS)}") from error


def pixels_of(processor: Any, image: Image.Image) -> dict[str, torch.Tensor]:
    """Bring an image to a model's size at once, so that no large image is held.

    Raises
    ------
    ContentError
        When it is refused by the processor.
    """
    try:
        pixels = processor(images=image, return_tensors="pt")["pixel_values"]
    except (ValueError, TypeError) as error:
        raise ContentError(f"the image processor refuses an image: {error}") from error
    return {"pixel_values": pixels[0]}


def _name_of(data: bytes) -> str:
    """Say what a file is that is decoded by none of the formats, and what to do about it."""
    beginning = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    for pattern, name in KNOWN.items():
        if re.match(pattern, beginning, re.IGNORECASE | re.DOTALL):
            return f"{name}, which is not read as an image"
    return "no image that can be read"


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale numbers of more than 8 bits, which Pillow would cut off at 255."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image, dtype=np.float64)
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    low, high = (0.0, 65535.0) if image.mode.startswith("I") else (values.min(), values.max())
    high = max(high, values.max())
    scaled = (values - low) / max(high - low, 1e-12) * 255
    return Image.fromarray(scaled.clip(0, 255).round().astype(np.uint8))


def _flat(image: Image.Image) -> Image.Image:
    """Return an image in RGB, on white where it is transparent."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(white, layer).convert("RGB")
