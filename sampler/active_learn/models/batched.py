"""Base of the adapters of trained models: batches, out-of-memory, a check of the result."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ..errors import DataError, ModelError
from .base import ModelOutput
from .batch_size import BatchSize
from .embedding_heads import LinearHead

__all__ = ["BatchedAdapter", "count_samples"]

WINDOW = 4096  # samples prepared (tokenized, sorted by length) at a time, which bounds memory
# Messages of PyTorch (CPU), CUDA and ONNX Runtime for exhausted memory without its own exception.
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "failed to allocate memory")


class BatchedAdapter(ABC):
    """Base of the adapters: runs any number of samples in batches and checks what comes out.

    Parameters
    ----------
    batch_size : int or 'auto'
        Samples per call of the model. See `BatchSize`.

    Attributes
    ----------
    weight : Tensor of shape (K, d) or None
        The last linear layer as of the latest call; None before it and for plain callables.
    bias : Tensor of shape (K,) or None
        Likewise.
    batch_size : int
        The size in use.
    layer_name : str or None
        What the last linear layer is called.
    sizes : (int, int) or None
        The size of embeddings and the number of outputs, after the first call.
    """

    weight: torch.Tensor | None = None
    bias: torch.Tensor | None = None
    layer_name: str | None = None
    sizes: tuple[int, int] | None = None

    def __init__(self, batch_size: int | str = "auto") -> None:
        self._batch_size = BatchSize(batch_size)
        self._running = threading.Lock()

    @property
    def batch_size(self) -> int:
        """Samples of the next call of the model."""
        return self._batch_size.rows

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_running"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _running=threading.Lock())

    def __call__(self, batch: Any) -> ModelOutput:
        """Return logits and embeddings of any number of samples, in their order.

        Raises
        ------
        DataError
            When there are no samples or the samples are of no known kind.
        ModelError
            When the model fails, gives NaN or infinity, does not fit into memory even one sample
            at a time, or when ``embedding @ weight.T + bias`` does not reproduce its logits.
        """
        # Hooks and the mode of a model cannot be used by two threads at once.
        with self._running:
            return self._run(batch)

    def _run(self, batch: Any) -> ModelOutput:
        n_samples = count_samples(batch)
        if n_samples == 0:
            raise DataError("no samples were given to the model; expected at least one")
        outputs = [
            self._run_window(take_samples(batch, start, start + WINDOW), start)
            for start in range(0, n_samples, WINDOW)
        ]
        output = ModelOutput.cat(outputs)
        self.sizes = output.embedding.shape[1], output.logits.shape[1]
        return output

    def _run_window(self, window: Any, offset: int) -> ModelOutput:
        samples, order = self._prepare(window, offset)
        outputs: list[ModelOutput] = []
        alike = has_rows_of_one_size(samples)
        start = 0
        while start < len(order):
            stop = min(start + self.batch_size, len(order))
            began = time.perf_counter()
            try:
                output = self._run_batch(take_samples(samples, start, stop))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                self._batch_size.halve(error)
                continue
            outputs.append(self._checked(output, offset + order[start:stop]))
            if alike:
                self._batch_size.count(stop - start, time.perf_counter() - began)
            start = stop
        output = ModelOutput.cat(outputs)
        if (order[1:] > order[:-1]).all():
            return output
        return output[torch.from_numpy(np.argsort(order)).to(output.logits.device)]

    def _prepare(self, window: Any, offset: int) -> tuple[Any, np.ndarray]:
        """Return the samples in the order in which they run, and that order.

        ``offset`` is the position of the window's first sample, for messages.
        """
        return window, np.arange(count_samples(window))

    def linear_head(self, n_features: int) -> LinearHead | None:
        """Return the model as a head of embeddings, where it is nothing else than one."""
        return None

    @abstractmethod
    def _forward(self, samples: Any) -> ModelOutput:
        """Return float32 outputs of at most ``batch_size`` samples; set ``weight`` and ``bias``."""

    def _run_batch(self, samples: Any) -> ModelOutput:
        """Return the outputs of a batch; an adapter may run it in several."""
        return self._forward(samples)

    def _checked(self, output: ModelOutput, positions: np.ndarray) -> ModelOutput:
        logits, embedding = output.logits, output.embedding
        n_samples = len(positions)
        for name, values in (("logits", logits), ("embedding", embedding)):
            if values.ndim != 2 or values.shape[0] != n_samples or values.shape[1] == 0:
                raise ModelError(
                    f"the {name} of {n_samples} samples have shape {tuple(values.shape)}; "
                    f"expected ({n_samples}, size)"
                )
            if torch.isfinite(values.sum()):  # rules out NaN and infinity in all of them
                continue
            bad = ~torch.isfinite(values).all(dim=1)
            if bad.any():
                first = positions[bad.cpu().numpy()].min()
                raise ModelError(
                    f"the model gives NaN or infinity in the {name} of sample {first}; "
                    "check that sample and the model's weights"
                )
        return output


def count_samples(batch: Any) -> int:
    """Return the number of samples of a batch.

    A batch is a tensor or array of shape (n, ...), a list of n samples, or, for a model of several
    inputs, a mapping or a tuple of tensors or arrays with n rows each.
    """
    if isinstance(batch, (torch.Tensor, np.ndarray)):
        if batch.ndim == 0:
            raise DataError("samples are a single number; expected an array of shape (n, ...)")
        return int(batch.shape[0])
    if isinstance(batch, (Mapping, tuple)):
        columns = list(batch.values() if isinstance(batch, Mapping) else batch)
        sizes = {len(column) for column in columns if hasattr(column, "__len__")}
        if len(sizes) != 1 or not all(hasattr(column, "__len__") for column in columns):
            raise DataError(
                f"the inputs of a batch have different numbers of rows ({sorted(sizes)}); "
                "expected one row a sample in each"
            )
        return sizes.pop()
    if isinstance(batch, list):
        return len(batch)
    raise DataError(
        f"samples come as {type(batch).__name__}; expected a tensor, an array, a list, "
        "or a mapping or tuple of arrays"
    )


def take_samples(batch: Any, start: int, stop: int) -> Any:
    """Return a slice of a batch of any kind that `count_samples` knows."""
    if isinstance(batch, Mapping):
        return {name: column[start:stop] for name, column in batch.items()}
    if isinstance(batch, tuple):
        return tuple(column[start:stop] for column in batch)
    return batch[start:stop]


def has_rows_of_one_size(batch: Any) -> bool:
    """Return whether samples are rows of numbers, so that the times of batches say something."""
    if isinstance(batch, np.ndarray):
        return batch.dtype.kind in "fiu"
    return isinstance(batch, torch.Tensor)


def is_out_of_memory(error: BaseException | None) -> bool:
    """Return whether an exception, or its cause, says that memory ran out."""
    while error is not None:
        if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
            return True
        if any(phrase in str(error).lower() for phrase in OUT_OF_MEMORY):
            return True
        error = error.__cause__
    return False
