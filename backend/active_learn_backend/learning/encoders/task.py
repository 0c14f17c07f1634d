"""Encodes whole tasks: each field by the encoder of its kind, the parts side by side."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import ContentError
from ...labeling.config import Field
from .base import Encoder, FloatArray
from .content_reader import ContentReader, Raw, run_each

__all__ = ["TaskEncoder"]

LONGEST_NAME = 120  # of a fingerprint, which is a folder's name


class TaskEncoder:
    """Encodes whole tasks.

    Parameters
    ----------
    fields : sequence of Field
        What to read of a task's content, in order.
    load : callable
        Gives the bytes of a file, from its address in the task; raises ContentError.
    encoders : mapping from kinds of content to Encoder
        One of each kind that the fields have.

    Attributes
    ----------
    fields : tuple of Field
    encoders : list of Encoder
        One for each field.
    fingerprint : str
        Names everything that the vectors depend on; fit for a folder's name.
    n_features : int
        Length of the vectors: every field's part has unit length (two of them, of the embedded
        image encoder), so that none drowns another.
    """

    def __init__(
        self,
        fields: Sequence[Field],
        load: Callable[..., bytes],
        encoders: Mapping[str, Encoder],
    ) -> None:
        self.fields = tuple(fields)
        self._reader = ContentReader(fields, load)
        self.encoders = [encoders[field.kind] for field in fields]
        name = "+".join(encoder.fingerprint for encoder in self.encoders)
        if len(name) > LONGEST_NAME:
            digest = hashlib.blake2b(name.encode(), digest_size=8).hexdigest()
            name = f"{len(fields)}-fields-{digest}"
        self.fingerprint = name
        self.n_features = sum(encoder.n_features for encoder in self.encoders)

    def encode(
        self, contents: Sequence[Mapping[str, Any]]
    ) -> tuple[FloatArray, dict[int, ContentError]]:
        """Encode tasks.

        Returns
        -------
        (array of shape (n, n_features), dict)
            Rows that could not be encoded are zero, and stand in the dict with the reason.
        """
        prepared = self._reader.map(contents, self._prepare)
        failed = {row: p for row, p in enumerate(prepared) if isinstance(p, ContentError)}
        vectors = np.zeros((len(contents), self.n_features), np.float32)
        start = 0
        for part, encoder in enumerate(self.encoders):
            column = [None if isinstance(p, ContentError) else p[part] for p in prepared]
            rows = [row for row, p in enumerate(column) if p is not None and row not in failed]
            found = run_each(encoder.run, [column[row] for row in rows])
            for row, vector in zip(rows, found, strict=True):
                if isinstance(vector, ContentError):
                    failed[row] = vector
                else:
                    vectors[row, start : start + encoder.n_features] = vector
            start += encoder.n_features
        vectors[list(failed)] = 0.0
        return vectors, failed

    def check(self, contents: Sequence[Mapping[str, Any]]) -> list[ContentError | None]:
        """Return why tasks cannot be encoded, as their files tell; None for those that can be."""
        prepared = self._reader.map(contents, self._prepare)
        return [one if isinstance(one, ContentError) else None for one in prepared]

    def _prepare(self, raws: list[Raw]) -> list[Any]:
        """Prepare each part; one that the task does without stays zero."""
        return [
            None if raw is None else encoder.prepare(raw)
            for encoder, raw in zip(self.encoders, raws, strict=True)
        ]
