"""Samples that can be indexed: what a pool and labeled data come in."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DataError
from .containers import open_container

__all__ = ["Samples"]


class Samples:
    """Indexable samples of any kind that `inputs.containers` knows.

    Parameters
    ----------
    samples : object
        Items that are tuples are read as (input, target, ...), except those of a list.
    what : str
        What they are called in messages.

    Raises
    ------
    DataError
        When they are of another kind.
    """

    def __init__(self, samples: Any, what: str = "candidates") -> None:
        if is_with_labels(samples):
            raise DataError(
                f"{what} are a tuple of samples and labels; give the samples alone, labeled data "
                "in regression as LabeledData(samples, targets)"
            )
        self.samples = samples
        self._container = open_container(samples, what)

    def __len__(self) -> int:
        return len(self._container)

    def __getitem__(self, rows: slice | np.ndarray) -> Any:
        """Return a batch of model inputs."""
        return self._container.rows(rows)

    @property
    def is_array(self) -> bool:
        """Whether rows can be read without running anything."""
        return self._container.is_array

    @property
    def in_memory(self) -> Any:
        """All rows as a tensor or an array, where they are in memory as that; None elsewhere."""
        return self._container.in_memory

    def choose(self, indices: np.ndarray) -> Any:
        """Return the samples at some indices, in the type they came in."""
        return self._container.choose(indices)


def is_with_labels(samples: Any) -> bool:
    """Return whether samples are a tuple (X, y)."""
    pair = isinstance(samples, tuple) and len(samples) == 2
    return pair and getattr(samples[0], "ndim", 0) > 1 and np.ndim(samples[1]) == 1
