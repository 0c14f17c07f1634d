"""The batches of a DataLoader, taken apart into samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, default_collate

__all__ = ["read_loader"]


def read_loader(loader: DataLoader) -> Iterator[Any]:
    """Yield the samples of a DataLoader, one by one.

    A batch that is a mapping or a tuple has one column for each part of a sample, as PyTorch
    collates samples. A list of such columns is told from a list of samples, which a ``collate_fn``
    of one's own may return, by the first batch.
    """
    if loader.batch_sampler is None:  # items of the dataset, one at a time
        yield from loader
        return
    columns: bool | None = True if loader.collate_fn is default_collate else None
    for batch in loader:
        if columns is None:
            columns = not is_list_of_samples(batch, loader.batch_size)
        yield from rows_of(batch) if columns else batch


def is_list_of_samples(batch: Any, batch_size: int | None) -> bool:
    """Return whether a batch of a ``collate_fn`` of one's own is a list with one item a sample."""
    if not isinstance(batch, list):
        return False
    if not all(isinstance(part, torch.Tensor | np.ndarray | list) for part in batch):
        return True  # texts, mappings, images, tuples
    sizes = {len(part) for part in batch}
    return len(batch) == batch_size or sizes != {batch_size}


def rows_of(batch: Any) -> Iterator[Any]:
    """Yield the samples of a collated batch."""
    if isinstance(batch, Mapping):
        keys = list(batch)
        for values in zip(*(rows_of(batch[key]) for key in keys), strict=True):
            yield dict(zip(keys, values, strict=True))
    elif isinstance(batch, list | tuple) and batch and is_column(batch[0]):
        yield from zip(*(rows_of(column) for column in batch), strict=True)
    else:
        yield from batch


def is_column(part: Any) -> bool:
    return isinstance(part, torch.Tensor | np.ndarray | list | tuple | Mapping)
