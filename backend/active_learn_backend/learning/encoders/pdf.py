"""PDF files: by their text or, where they have none, by a picture of their first page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from ...decoders.process import decode, require_decoder
from .base import Encoder, FloatArray, VisionEncoder

__all__ = ["PdfEncoder"]


class PdfEncoder(Encoder):
    """The vector of a text, and behind it that of a picture; one of the two is zero.

    Parameters
    ----------
    text : Encoder
        What encodes the text of a PDF.
    image : VisionEncoder
        What encodes the first page of one without text, such as a scan.
    """

    def __init__(self, text: Encoder, image: VisionEncoder) -> None:
        require_decoder("pdf")
        self._text, self._image = text, image
        self.fingerprint = f"pdf-1-{text.fingerprint}-{image.fingerprint}"
        self.n_features = text.n_features + image.n_features

    def prepare(self, raw: bytes) -> tuple[bool, Any]:
        found = decode("pdf", raw)
        if isinstance(found, str):
            return True, self._text.prepare(found.encode("utf-8", "replace").decode())
        return False, self._image.prepare_image(Image.fromarray(found))

    def run(self, prepared: Sequence[tuple[bool, Any]]) -> FloatArray:
        vectors = np.zeros((len(prepared), self.n_features), np.float32)
        n_text = self._text.n_features
        for is_text, encoder in ((True, self._text), (False, self._image)):
            rows = [row for row, (kind, _) in enumerate(prepared) if kind == is_text]
            if rows:
                columns = slice(0, n_text) if is_text else slice(n_text, None)
                vectors[rows, columns] = encoder.run([prepared[row][1] for row in rows])
        return vectors
