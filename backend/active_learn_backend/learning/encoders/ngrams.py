"""The embedded text encoder: hashed n-grams, without a model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from .base import Encoder, FloatArray

__all__ = ["N_BUCKETS", "TextEncoder", "count_ngrams", "projections"]

N_BUCKETS = 2**16


class TextEncoder(Encoder):
    """Hashed word and character n-grams, projected to a few hundred dimensions, without a model.

    Counts are damped (log) and hashed with signs (Weinberger et al., ICML 2009), then projected
    by a fixed sparse random matrix (Achlioptas 2003), which keeps angles.
    """

    fingerprint = "text-ngrams-1"
    n_features = 384

    def prepare(self, raw: str) -> str:
        return raw

    def run(self, prepared: Sequence[str]) -> FloatArray:
        total = np.zeros((len(prepared), self.n_features), np.float32)
        for vectorizer, projection in zip(_vectorizers(), projections(), strict=True):
            counts = vectorizer.transform(prepared)
            counts.data = np.sign(counts.data) * np.log1p(np.abs(counts.data))
            projected = np.asarray(
                [row @ projection[row_ids] for row, row_ids in _rows(counts)], np.float32
            )
            total += projected / (np.linalg.norm(projected, axis=1, keepdims=True) + 1e-12)
        return total / np.sqrt(2, dtype=np.float32)


def count_ngrams(texts: Sequence[str]) -> tuple[FloatArray, FloatArray]:
    """Return the signed counts of word and of character n-grams, each (n, N_BUCKETS)."""
    words, characters = (one.transform(texts).toarray() for one in _vectorizers())
    return words.astype(np.float32), characters.astype(np.float32)


@cache
def _vectorizers() -> tuple[Any, Any]:
    # Scikit-learn takes as long to import as all the rest, and projects of images need none.
    from sklearn.feature_extraction.text import HashingVectorizer

    words = HashingVectorizer(ngram_range=(1, 2), n_features=N_BUCKETS, norm=None)
    characters = HashingVectorizer(
        analyzer="char_wb", ngram_range=(3, 5), n_features=N_BUCKETS, norm=None
    )
    return words, characters


@cache
def projections() -> npt.NDArray[np.int8]:
    """Return the two fixed sparse matrices (2, N_BUCKETS, 384) of the numbers -1, 0 and 1.

    They are made when first needed: 50 MB, a tenth of a second.
    """
    shape = (2, N_BUCKETS, TextEncoder.n_features)
    draws = np.random.default_rng(0).integers(4, size=shape, dtype=np.uint8)
    return np.array([-1, 0, 0, 1], np.int8)[draws]


def _rows(matrix: Any) -> list[tuple[FloatArray, npt.NDArray[np.int32]]]:
    """Values and column ids of each row of a CSR matrix."""
    bounds = zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True)
    return [(matrix.data[a:b], matrix.indices[a:b]) for a, b in bounds]
