"""Samples that can be indexed: what a pool and labeled data come in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Subset

from ..errors import DataError

__all__ = ["Samples", "is_pool", "model_input", "to_batch"]


def is_pool(samples: Any) -> bool:
    """Return whether samples have a length and can be indexed; all others are read only once."""
    if isinstance(samples, Dataset):
        return hasattr(samples, "__len__")
    return isinstance(samples, torch.Tensor | np.ndarray | list | tuple)


def to_batch(inputs: Sequence[Any]) -> Any:
    """Return a batch for the model: samples of one shape stacked, all others as a list."""
    first = inputs[0]
    if isinstance(first, torch.Tensor) and all(
        isinstance(x, torch.Tensor) and x.shape == first.shape for x in inputs
    ):
        return torch.stack(list(inputs))
    if isinstance(first, np.ndarray) and all(
        isinstance(x, np.ndarray) and x.shape == first.shape for x in inputs
    ):
        return np.stack(inputs)
    return list(inputs)


def model_input(item: Any) -> Any:
    """Return the part of a dataset's item that the model reads.

    Of a tuple (input, target, ...) it is the input. A tuple of two texts is a pair and is read
    whole.
    """
    pair = isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], str)
    return item[0] if isinstance(item, tuple) and not pair else item


class Samples:
    """Indexable samples: a tensor, an array, a list, a tuple or a map-style Dataset.

    Parameters
    ----------
    samples : Tensor, ndarray, sequence or Dataset
        A Dataset whose items are tuples is read as (input, target, ...).
    what : str
        What they are called in messages.

    Raises
    ------
    DataError
        When they are of another kind.
    """

    def __init__(self, samples: Any, what: str = "candidates") -> None:
        if not is_pool(samples):
            raise DataError(
                f"{what} are of type {type(samples).__name__}; expected a tensor, an array, "
                "a list or a Dataset with a length"
            )
        if isinstance(samples, torch.Tensor | np.ndarray) and samples.ndim == 0:
            raise DataError(f"{what} are a single number; expected an array of shape (n, ...)")
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, rows: slice | np.ndarray) -> Any:
        """Return a batch of model inputs."""
        if isinstance(self.samples, torch.Tensor):
            return self.samples[rows if isinstance(rows, slice) else torch.as_tensor(rows)]
        if isinstance(self.samples, np.ndarray):
            return self.samples[rows]
        at = range(*rows.indices(len(self))) if isinstance(rows, slice) else rows
        if isinstance(self.samples, list):
            return to_batch([self.samples[i] for i in at])
        return to_batch([model_input(self.samples[i]) for i in at])

    @property
    def is_array(self) -> bool:
        """Whether rows can be read without running anything."""
        return isinstance(self.samples, torch.Tensor | np.ndarray)

    def choose(self, indices: np.ndarray) -> Any:
        """Return the samples at some indices, in the type they came in."""
        if isinstance(self.samples, torch.Tensor):
            return self.samples[torch.as_tensor(indices, device=self.samples.device)]
        if isinstance(self.samples, np.ndarray):
            return self.samples[indices]
        if isinstance(self.samples, list | tuple):
            return type(self.samples)(self.samples[i] for i in indices.tolist())
        return Subset(self.samples, indices.tolist())
