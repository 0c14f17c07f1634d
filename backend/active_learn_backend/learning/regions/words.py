"""Words of a text with their places, and what tells them apart without a model.

Word, affixes and character trigrams are hashed (Weinberger et al., ICML 2009), each to a few signed
places. Case, digits and punctuation are kept as bits, which encoders of lower-case text do not see.
The words on both sides count, too.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

__all__ = ["EMBEDDED", "SHAPED", "find_words", "word_features"]

FloatArray = npt.NDArray[np.float32]

# Each of these is a word: writing without blanks between words.
UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
UNSPACED += "\U00020000-\U0003ffff"

WORD, TRIGRAMS, AFFIXES, NEIGHBOR, SHAPE = 256, 96, 64, 64, 12  # numbers of features
PLACES = 3  # that a hashed thing sets
#: Number of features beside those of a model, and without a model.
SHAPED = 3 * SHAPE + AFFIXES
EMBEDDED = SHAPED + WORD + TRIGRAMS + 2 * NEIGHBOR
OF_SIDES, OF_AFFIXES, OF_NEIGHBORS = 0.7, 0.5, 0.4  # weights beside the word's own


@lru_cache(maxsize=1)
def _pattern() -> re.Pattern[str]:
    """Return the pattern of a word; marks, such as vowel signs, belong to what they follow."""
    marks = "".join(
        re.escape(chr(code))
        for code in range(0x300, 0xFFFF)
        if unicodedata.category(chr(code))[0] == "M" or code in (0x200C, 0x200D)
    )
    return re.compile(rf"[{UNSPACED}][{marks}]*|(?:(?![{UNSPACED}])\w[{marks}]*)+|[^\w\s]")


def find_words(text: str) -> npt.NDArray[np.int64]:
    """Return the places of the words of a text, (n, 2): first code point, and the one behind it.

    A word is a run of letters and digits; each other character that is no blank is one, too.
    """
    found = [match.span() for match in _pattern().finditer(text)]
    return np.array(found, np.int64).reshape(-1, 2)


def word_features(texts: Sequence[Sequence[str]], *, embedded: bool) -> FloatArray:
    """Return the features of the words of some texts, one after the other.

    Parameters
    ----------
    texts : sequence of sequences of str
        The words of each.
    embedded : bool
        Whether there is no model that knows the words: (P, `EMBEDDED`), else (P, `SHAPED`).
    """
    words = [word for text in texts for word in text]
    at = {word: place for place, word in enumerate(dict.fromkeys(words))}
    places = np.array([at[word] for word in words], np.int64)
    sides = [_beside(texts, step) for step in (-1, 1)]
    first = np.array([_is_first(text, i) for text in texts for i in range(len(text))], bool)
    shapes = _rows([_shape(word) for word in at], SHAPE)[places]
    shapes[:, -1] = first
    columns = [shapes, *(OF_SIDES * _moved(shapes, side) for side in sides)]
    columns.append(OF_AFFIXES * _hashed([_affixes(word) for word in at], AFFIXES)[places])
    if embedded:
        lower = [word.lower() for word in at]
        columns.append(_hashed([["w" + word] for word in lower], WORD)[places])
        columns.append(_hashed([_trigrams(word) for word in lower], TRIGRAMS)[places])
        beside = _hashed([["n" + word] for word in lower], NEIGHBOR)[places]
        columns += [OF_NEIGHBORS * _moved(beside, side) for side in sides]
    return np.concatenate(columns, axis=1)


def _shape(word: str) -> tuple[bool, ...]:
    """Return what the letters of a word look like; the last place is for the first word."""
    inner = any(letter.isupper() for letter in word[1:])
    return (
        word[:1].isupper(),
        len(word) > 1 and word.isupper(),
        word.islower(),
        inner and not word.isupper(),
        any(letter.isdigit() for letter in word),
        word.isdigit(),
        not any(letter.isalnum() for letter in word),
        word[:1] in "@#",
        word.startswith("http"),
        "-" in word,
        len(word) <= 3,
        False,
    )


def _is_first(text: Sequence[str], at: int) -> bool:
    """Return whether a word is the first of its sentence."""
    return at == 0 or text[at - 1] in ".!?\u3002"


def _affixes(word: str) -> list[str]:
    """Return beginnings and ends of two and three letters."""
    return ["<" + word[:2], "<" + word[:3], word[-2:] + ">", word[-3:] + ">"]


def _trigrams(word: str) -> list[str]:
    whole = f"<{word[:40]}>"
    return ["c" + whole[at : at + 3] for at in range(len(whole) - 2)]


def _beside(texts: Sequence[Sequence[str]], step: int) -> npt.NDArray[np.int64]:
    """Return the row of the word before or behind each word; -1 where there is none."""
    sizes = [len(text) for text in texts]
    rows = np.arange(sum(sizes)) + step
    ends = np.cumsum([0, *sizes])
    edges = ends[:-1] if step < 0 else ends[1:] - 1
    rows[edges[np.array(sizes, np.int64) > 0]] = -1
    return rows


def _moved(features: FloatArray, rows: npt.NDArray[np.int64]) -> FloatArray:
    """Return the features of other rows; zeros for those of row -1."""
    moved = features[rows]
    moved[rows < 0] = 0
    return moved


def _rows(values: Sequence[Sequence[bool]], width: int) -> FloatArray:
    return np.array(values, np.float32).reshape(-1, width)


def _hashed(things: Sequence[Sequence[str]], width: int) -> FloatArray:
    """Return a row of about unit length for each list of texts."""
    found = np.zeros((len(things), width), np.float32)
    for row, texts in enumerate(things):
        for text in texts:
            number = zlib.crc32(text.encode("utf-8", "replace"))
            for _ in range(PLACES):
                number = (number * 0x5851F42D4C957F2D + 0x14057B7EF767814F) % 2**64
                found[row, (number >> 33) % width] += 1 - 2 * ((number >> 32) & 1)
        if texts:
            found[row] /= np.sqrt(PLACES * len(texts), dtype=np.float32)
    return found
