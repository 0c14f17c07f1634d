"""Pipes: samples that can only be read once, one after the other, and selection from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ..errors import DataError
from ..inputs.samples import model_input, to_batch
from ..models import ModelOutput
from .stream import Stream

__all__ = ["is_pipe", "read_pipe", "select_from_pipe"]


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


def select_from_pipe(
    pipe: Iterable[Any],
    stream: Stream,
    run: Callable[[Any, int], ModelOutput],
    rows: int,
    return_indices: bool,
) -> Iterator[Any]:
    """Let samples of a pipe through, as a stream decides.

    Parameters
    ----------
    pipe : iterable
    stream : Stream
        Goes on from where it is.
    run : callable
        Gives the model's output for a batch whose first sample has some position in the stream.
    rows : int
        Samples that are read before they are decided.
    return_indices : bool
        Give (sample, position in the stream).

    Raises
    ------
    BudgetError
        When the pipe ends before the stream's number is reached.
    """
    reader, controller = read_pipe(pipe), stream.controller
    while not controller.done and (batch := list(islice(reader, rows))):
        first = controller.seen
        output = run(to_batch([read for _, read in batch]), first)
        for position in stream.offer(output):
            item = batch[position][0]
            yield (item, first + position) if return_indices else item
    controller.check_end()


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
