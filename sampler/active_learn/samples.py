"""What the user hands in: pools that can be indexed, and pipes that can only be read once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Subset

from .errors import DataError

__all__ = ["Samples", "is_pipe", "read_pipe", "to_batch"]


def to_batch(inputs: Sequence[Any]) -> Any:
    """Stack samples for the model: arrays and tensors of one shape, else a list as it is."""
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
    """Give what of a dataset's item the model reads: of a tuple (input, target, ...) the input.

    A tuple of two texts is a pair, all of which is read.
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
        known = isinstance(samples, torch.Tensor | np.ndarray | list | tuple) or (
            isinstance(samples, Dataset) and hasattr(samples, "__len__")
        )
        if not known:
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
        """Give a batch of model inputs."""
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
        """Give the samples at some indices, in the kind they came in."""
        if isinstance(self.samples, torch.Tensor):
            return self.samples[torch.as_tensor(indices, device=self.samples.device)]
        if isinstance(self.samples, np.ndarray):
            return self.samples[indices]
        if isinstance(self.samples, list | tuple):
            return type(self.samples)(self.samples[i] for i in indices.tolist())
        return Subset(self.samples, indices.tolist())


def is_pipe(samples: Any) -> bool:
    """Tell whether samples can only be read one after the other.

    Raises
    ------
    DataError
        When they are of a kind whose elements are no samples (a string, a mapping).
    """
    if isinstance(samples, str | bytes | Mapping):
        raise DataError(
            f"candidates are of type {type(samples).__name__}; expected a tensor, an array, "
            "a list, a Dataset or an iterator of samples"
        )
    if isinstance(samples, DataLoader):
        return True
    if isinstance(samples, torch.Tensor | np.ndarray | list | tuple):
        return False
    if isinstance(samples, Dataset) and hasattr(samples, "__len__"):
        return False
    return isinstance(samples, Iterable)


def read_pipe(samples: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Go through a pipe sample by sample, giving each with what the model reads of it.

    The batches of a DataLoader are taken apart; lines of a text file lose their line end.
    """
    if isinstance(samples, DataLoader) and samples.batch_size is not None:
        for batch in samples:
            for item in _rows(batch):
                yield item, model_input(item)
        return
    for item in samples:
        if isinstance(item, str):
            item = item.rstrip("\r\n")
        yield item, model_input(item)


def _rows(batch: Any) -> Iterator[Any]:
    """Take a collated batch apart."""
    if isinstance(batch, Mapping):
        keys = list(batch)
        for values in zip(*(_rows(batch[key]) for key in keys), strict=True):
            yield dict(zip(keys, values, strict=True))
    elif isinstance(batch, list | tuple) and batch and not isinstance(batch[0], str):
        yield from zip(*(_rows(column) for column in batch), strict=True)
    else:
        yield from batch
