"""Pipes: samples that can only be read once, one after the other, and selection from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from itertools import islice
from typing import Any

from torch.utils.data import DataLoader

from ..errors import DataError
from ..inputs.containers import has_names, is_pool, model_input, refusal, to_batch
from ..models import ModelOutput
from .loader_batches import read_loader
from .stream import Stream

__all__ = ["is_pipe", "read_pipe", "select_from_pipe"]


def is_pipe(samples: Any) -> bool:
    """Return whether samples can only be read one after the other.

    Raises
    ------
    DataError
        When they are of a kind whose elements are no samples (a string, a mapping).
    """
    if isinstance(samples, str | bytes) or has_names(samples):
        raise refusal(samples, "candidates")
    if isinstance(samples, Set):
        raise DataError("candidates are a set, which has no order; give a list")
    return isinstance(samples, Iterable) and not is_pool(samples)


def read_pipe(samples: Iterable[Any]) -> Iterator[tuple[Any, Any]]:
    """Yield each sample of a pipe, and what the model reads of it.

    The batches of a DataLoader are split into samples; lines of a text file lose their line end.
    """
    for item in read_loader(samples) if isinstance(samples, DataLoader) else samples:
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
    """Yield the samples of a pipe that a stream keeps.

    Parameters
    ----------
    pipe : iterable
    stream : Stream
        Continues from its current position.
    run : callable
        Returns the model's output for a batch and the position of its first sample in the stream.
    rows : int
        Samples that are read before they are decided.
    return_indices : bool
        Yield (sample, position in the stream).

    Raises
    ------
    BudgetError
        When the pipe ends before the stream's number is reached.
    """
    reader, controller = read_pipe(pipe), stream.controller
    while not controller.done and (batch := list(islice(reader, rows))):
        start = controller.seen
        output = run(to_batch([read for _, read in batch]), start)
        for position in stream.offer(output):
            item = batch[position][0]
            yield (item, start + position) if return_indices else item
    controller.check_end()
