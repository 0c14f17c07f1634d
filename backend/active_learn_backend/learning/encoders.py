"""Encoders: the content of tasks in, embeddings out.

The embedded encoders need no download and no training, so an embedding never changes under a
cache. Both give parts of unit length, so that no part drowns another.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError
from sklearn.feature_extraction.text import HashingVectorizer

from ..errors import ContentError

__all__ = ["Encoder", "ImageEncoder", "TaskEncoder", "TextEncoder"]

FloatArray = npt.NDArray[np.float32]
Part = FloatArray | ContentError

LOADERS = 8  # images loaded at once: their way over the network is the slow part


class Encoder(Protocol):
    """Turns one kind of content into vectors.

    ``fingerprint`` names everything that the vectors depend on; another one means another cache.
    """

    fingerprint: str
    n_features: int

    def encode(self, items: Sequence[Any]) -> FloatArray:
        """Encode items into an array of shape (n, n_features)."""
        ...


class ImageEncoder:
    """Pixels and gradient histograms of an image, without a model.

    A contrast-normalized 8 x 8 thumbnail in three colors, and histograms of oriented gradients
    over 4 x 4 cells of the 32 x 32 image (Dalal & Triggs, CVPR 2005: 9 unsigned orientations,
    blocks of 2 x 2 cells, each block of unit length).
    """

    fingerprint = "image-pixels-hog-1"
    _side, _cells, _bins, _thumb = 32, 4, 9, 8
    n_features = _thumb * _thumb * 3 + (_cells - 1) ** 2 * 4 * _bins

    def __init__(self, max_megapixels: float = 100.0) -> None:
        self._max_pixels = int(max_megapixels * 1e6)

    def encode(self, items: Sequence[bytes]) -> FloatArray:
        """Encode image files (PNG, JPEG, ...), given as bytes."""
        rows = [self._encode_one(item) for item in items]
        return np.stack(rows) if rows else np.empty((0, self.n_features), np.float32)

    def _encode_one(self, data: bytes) -> FloatArray:
        image = self._open(data)
        thumbnail = np.asarray(
            image.resize((self._thumb, self._thumb), Image.Resampling.BOX), np.float32
        ).ravel()
        gray = np.asarray(
            image.convert("L").resize((self._side, self._side), Image.Resampling.BILINEAR),
            np.float32,
        )
        return np.concatenate([_unit(thumbnail - thumbnail.mean()), _unit(self._histograms(gray))])

    def _open(self, data: bytes) -> Image.Image:
        try:
            image = Image.open(io.BytesIO(data))
            if image.width * image.height > self._max_pixels:
                raise ContentError(
                    f"an image has {image.width} x {image.height} pixels, more than the "
                    f"{self._max_pixels / 1e6:g} megapixels of MAX_IMAGE_MEGAPIXELS"
                )
            return image.convert("RGB")
        except (UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise ContentError("a file is no image that can be read") from error
        except (OSError, SyntaxError, ValueError) as error:
            raise ContentError(f"an image is damaged: {error}") from error

    def _histograms(self, gray: FloatArray) -> FloatArray:
        dy, dx = np.gradient(gray)
        strength = np.hypot(dx, dy)
        angle = np.mod(np.arctan2(dy, dx), np.pi) / np.pi * self._bins
        low = np.floor(angle).astype(int)
        share = angle - low
        votes = np.zeros((*gray.shape, self._bins), np.float32)
        rows, columns = np.indices(gray.shape)
        votes[rows, columns, low % self._bins] += strength * (1 - share)
        votes[rows, columns, (low + 1) % self._bins] += strength * share
        size = self._side // self._cells
        cells = votes.reshape(self._cells, size, self._cells, size, self._bins).sum(axis=(1, 3))
        corners = [cells[:-1, :-1], cells[:-1, 1:], cells[1:, :-1], cells[1:, 1:]]
        flat = np.concatenate(corners, axis=2).reshape((self._cells - 1) ** 2, -1)
        return (flat / (np.linalg.norm(flat, axis=1, keepdims=True) + 1e-3)).ravel()


class TextEncoder:
    """Hashed word and character n-grams, projected to a few hundred dimensions, without a model.

    Counts are damped (log) and hashed with signs (Weinberger et al., ICML 2009), then projected
    by a fixed sparse random matrix (Achlioptas 2003), which keeps angles.
    """

    fingerprint = "text-ngrams-1"
    n_features = 384
    _buckets = 2**16

    def __init__(self) -> None:
        self._words = HashingVectorizer(ngram_range=(1, 2), n_features=self._buckets, norm=None)
        self._characters = HashingVectorizer(
            analyzer="char_wb", ngram_range=(3, 5), n_features=self._buckets, norm=None
        )

    def encode(self, items: Sequence[str]) -> FloatArray:
        """Encode texts."""
        if not items:
            return np.empty((0, self.n_features), np.float32)
        total = np.zeros((len(items), self.n_features), np.float32)
        vectorizers = (self._words, self._characters)
        projections = _projections(self._buckets, self.n_features)
        for vectorizer, projection in zip(vectorizers, projections, strict=True):
            counts = vectorizer.transform(items)
            counts.data = np.sign(counts.data) * np.log1p(np.abs(counts.data))
            projected = np.asarray(
                [row @ projection[row_ids] for row, row_ids in _rows(counts)], np.float32
            )
            total += projected / (np.linalg.norm(projected, axis=1, keepdims=True) + 1e-12)
        return total / np.sqrt(2, dtype=np.float32)


class TaskEncoder:
    """Encodes whole tasks: each field by its kind, the parts concatenated.

    Parameters
    ----------
    fields : sequence of (name, kind)
        What to read of a task's content, in order; kind is 'image' or 'text'.
    load : callable
        Gives the bytes of an image, from its address in the task.
    max_megapixels : float
        Largest image taken.
    """

    def __init__(
        self,
        fields: Sequence[tuple[str, str]],
        load: Callable[[str], bytes],
        max_megapixels: float = 100.0,
    ) -> None:
        made: dict[str, Encoder] = {}
        for _, kind in fields:
            if kind not in made:
                made[kind] = ImageEncoder(max_megapixels) if kind == "image" else TextEncoder()
        self._parts = [(name, kind, made[kind]) for name, kind in fields]
        self._load = load
        self.fingerprint = "+".join(encoder.fingerprint for _, _, encoder in self._parts)
        self.n_features = sum(encoder.n_features for _, _, encoder in self._parts)

    def encode(
        self, contents: Sequence[Mapping[str, Any]]
    ) -> tuple[FloatArray, dict[int, ContentError]]:
        """Encode tasks.

        Returns
        -------
        (array of shape (n, n_features), dict)
            Rows that could not be encoded are zero, and stand in the dict with the reason.
        """
        vectors = np.zeros((len(contents), self.n_features), np.float32)
        failed: dict[int, ContentError] = {}
        start = 0
        for name, kind, encoder in self._parts:
            values = [content.get(name) for content in contents]
            found = (
                _encode_texts(encoder, values, name)
                if kind == "text"
                else self._encode_images(encoder, values, name)
            )
            for row, part in enumerate(found):
                if isinstance(part, ContentError):
                    failed.setdefault(row, part)
                else:
                    vectors[row, start : start + encoder.n_features] = part
            start += encoder.n_features
        vectors[list(failed)] = 0.0
        return vectors, failed

    def _encode_images(self, encoder: Encoder, values: Sequence[Any], name: str) -> list[Part]:
        def encode_one(value: Any) -> Part:
            if not isinstance(value, str) or not value:
                return ContentError(f"the task has no image in its field '{name}'")
            try:
                return encoder.encode([self._load(value)])[0]
            except ContentError as error:
                return error

        with ThreadPoolExecutor(LOADERS) as pool:
            return list(pool.map(encode_one, values))


def _encode_texts(encoder: Encoder, values: Sequence[Any], name: str) -> list[Part]:
    texts = [
        str(value).encode("utf-8", "replace").decode()  # no lone surrogates
        for value in values
        if isinstance(value, (str, int, float))
    ]
    rows = iter(encoder.encode(texts))
    return [
        next(rows)
        if isinstance(value, (str, int, float))
        else ContentError(f"the task has no text in its field '{name}'")
        for value in values
    ]


@lru_cache(maxsize=1)
def _projections(n_buckets: int, n_features: int) -> npt.NDArray[np.int8]:
    """Give the two fixed sparse matrices, made when first needed (50 MB, a tenth of a second)."""
    draws = np.random.default_rng(0).integers(4, size=(2, n_buckets, n_features), dtype=np.uint8)
    return np.array([-1, 0, 0, 1], np.int8)[draws]


def _unit(vector: FloatArray) -> FloatArray:
    return vector / max(float(np.linalg.norm(vector)), 1e-6)


def _rows(matrix: Any) -> list[tuple[FloatArray, npt.NDArray[np.int32]]]:
    """Values and column ids of each row of a CSR matrix."""
    bounds = zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True)
    return [(matrix.data[a:b], matrix.indices[a:b]) for a, b in bounds]
