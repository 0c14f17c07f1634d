"""Reads PDF files, by PDFium (pypdfium2): their text, or a picture of their first page."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pypdfium2

__all__ = ["decode_pdf"]

MAX_PAGES = 50  # whose text is read
MAX_CHARACTERS = 200_000
FEWEST = 16  # letters and digits; a scanned page often bears a number or a stamp as text
SIDE = 768  # pixels of the longer side of a picture


def decode_pdf(data: bytes) -> str | npt.NDArray[np.uint8]:
    """Return the text of a PDF; of one without, its first page as a picture.

    Returns
    -------
    str, or array of shape (height, width, 3)

    Raises
    ------
    ValueError
        When it is no PDF that can be read.
    """
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        raise ValueError(f"it is encrypted, damaged or no PDF ({error})") from error
    if not len(document):
        raise ValueError("it has no page")
    text = _text(document)
    if sum(character.isalnum() for character in text) >= FEWEST:
        return text
    try:
        page = document[0]
        bitmap = page.render(scale=SIDE / max(*page.get_size(), 1.0), rev_byteorder=True)
    except pypdfium2.PdfiumError as error:
        raise ValueError(f"its first page is damaged ({error})") from error
    return np.ascontiguousarray(bitmap.to_numpy()[:, :, :3])


def _text(document: pypdfium2.PdfDocument) -> str:
    parts: list[str] = []
    left = MAX_CHARACTERS
    for number in range(min(len(document), MAX_PAGES)):
        try:
            part = document[number].get_textpage().get_text_range()[:left]
        except pypdfium2.PdfiumError:  # a damaged page, or one that is only claimed to be there
            continue
        parts.append(part)
        left -= len(part)
        if left <= 0:
            break
    return "\n".join(parts).replace("\0", " ")
