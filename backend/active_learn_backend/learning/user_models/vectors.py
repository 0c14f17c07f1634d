"""Embeddings and logits as one row of the cache, which holds float16.

A row is ``[embedding (d) | coarse (K) | fine (K)]`` with ``logit = COARSE * coarse + fine``: two
float16 numbers keep 22 bits of a logit, and those of regressors far beyond float16's 65504.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from active_learn.errors import ModelError

__all__ = ["UnitEmbeddings", "embedding_of", "logits_of", "pack", "unit_length"]

FloatArray = npt.NDArray[np.float32]

COARSE = 2048.0  # more, and the rest of a large logit would be beyond float16
LARGEST = 65504.0  # of float16


def pack(embedding: FloatArray, logits: FloatArray) -> FloatArray:
    """Put embeddings (n, d) and logits (n, K) into rows (n, d + 2K) that survive float16.

    Raises
    ------
    ModelError
        When a value is too large for that.
    """
    largest = float(np.abs(embedding).max(initial=0.0))
    if largest > LARGEST:
        raise ModelError(
            f"the model's embedding holds {largest:.3g}, and the cache at most {LARGEST:g}; "
            "put a normalization before its last linear layer, or set MODEL_USE=encoder"
        )
    if float(np.abs(logits).max(initial=0.0)) > LARGEST * COARSE:
        raise ModelError(f"the model gives a number beyond {LARGEST * COARSE:.2g}; scale it")
    coarse = (logits.astype(np.float64) / COARSE).astype(np.float16)
    fine = logits.astype(np.float64) - coarse.astype(np.float64) * COARSE
    return np.concatenate([embedding, coarse, fine], axis=1).astype(np.float32)


def embedding_of(rows: FloatArray, n_outputs: int) -> FloatArray:
    """Return the embeddings of rows, of shape (n, d)."""
    return rows[:, : rows.shape[1] - 2 * n_outputs]


def unit_length(embedding: FloatArray) -> FloatArray:
    """Return embeddings (n, d) scaled to unit length; zeros stay zeros."""
    lengths = np.linalg.norm(embedding, axis=1, keepdims=True)
    scaled: FloatArray = embedding / np.maximum(lengths, np.finfo(np.float32).tiny)
    return scaled


class UnitEmbeddings:
    """The embeddings of rows in unit length, of shape (n, d), computed when they are read.

    Parameters
    ----------
    rows : array or CachedVectors of shape (n, d + 2K)
    n_outputs : int
        K.
    """

    def __init__(self, rows: Any, n_outputs: int) -> None:
        self._rows, self._n_outputs = rows, n_outputs
        self.shape = (rows.shape[0], rows.shape[1] - 2 * n_outputs)

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, at: Any) -> FloatArray:
        return unit_length(embedding_of(np.asarray(self._rows[at], np.float32), self._n_outputs))


def logits_of(rows: FloatArray, n_outputs: int) -> FloatArray:
    """Return the logits of rows, of shape (n, K)."""
    start = rows.shape[1] - 2 * n_outputs
    return rows[:, start : start + n_outputs] * np.float32(COARSE) + rows[:, start + n_outputs :]
