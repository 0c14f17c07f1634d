"""The batches of a DataLoader, taken apart into samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, default_collate

from ..errors import DataError

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
        columns = (
            column if are_token_lists(column) else rows_of(column) for column in batch.values()
        )
        for values in side_by_side(columns):
            yield dict(zip(batch, values, strict=True))
    elif isinstance(batch, list | tuple) and batch and is_column(batch[0]):
        yield from side_by_side(rows_of(column) for column in batch)
    else:
        yield from batch


def side_by_side(columns: Iterable[Iterable[Any]]) -> Iterator[tuple[Any, ...]]:
    """Yield the values of columns row by row.

    Raises
    ------
    DataError
        When they have different lengths.
    """
    read = [list(column) for column in columns]
    lengths = sorted({len(column) for column in read})
    if len(lengths) > 1:
        raise DataError(
            f"a batch of the DataLoader has columns of {lengths[0]} and {lengths[-1]} samples; "
            "return columns of one length from collate_fn, or a list with one item a sample"
        )
    yield from zip(*read, strict=True)


def are_token_lists(column: Any) -> bool:
    """Return whether a column holds lists of numbers, as of a tokenizer that pads nothing."""
    rows = column if isinstance(column, list) else []
    return bool(rows) and all(isinstance(row, list) and is_number(row[:1]) for row in rows)


def is_number(first: list[Any]) -> bool:
    return not first or isinstance(first[0], int | float)


def is_column(part: Any) -> bool:
    return isinstance(part, torch.Tensor | np.ndarray | list | tuple | Mapping)
