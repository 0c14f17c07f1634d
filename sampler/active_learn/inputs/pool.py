"""Pools: candidates as logits and embeddings, read in row blocks.

`open_pool` chooses between `OutputPool`, which holds all model outputs, and `EmbeddingPool`, which
reads ready embeddings anew at each pass. `LazyPool` reads single candidates through a function.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ..errors import DataError
from ..models import BLOCK_ROWS, Adapter, EmbeddingHead, ModelOutput
from .model_runner import as_embeddings, check_output, embedding_head, run_batch, run_model
from .samples import Samples

__all__ = ["EmbeddingPool", "LazyPool", "OutputPool", "Pool", "open_pool"]

# Candidates that one step of a pass over the pool reads.
EMBEDDING_ROWS = BLOCK_ROWS
SCALE_ROWS = 4096

Rows = slice | np.ndarray


class Pool(ABC):
    """N candidates as logits and embeddings, read by rows.

    Parameters
    ----------
    size : int
        Candidates, N.
    device : torch.device
        Where outputs are.
    progress : bool
        Show a bar on passes over the whole pool.
    positions : ndarray of int64 of shape (N,), optional
        Numbers of the candidates in messages, where the pool is a part of another.

    Attributes
    ----------
    center : Tensor of shape (d,), optional
        What is subtracted from the embeddings.

    Raises
    ------
    DataError
        When the pool is empty. Every method that reads raises it when an output holds NaN or
        infinity.
    """

    def __init__(
        self,
        size: int,
        device: torch.device,
        progress: bool = False,
        positions: np.ndarray | None = None,
    ) -> None:
        if size < 1:
            raise DataError("the pool is empty; give at least one candidate")
        self._size = size
        self._device = device
        self._progress = progress
        self._positions = positions
        self.center: torch.Tensor | None = None

    def __len__(self) -> int:
        return self._size

    @property
    def device(self) -> torch.device:
        """Where outputs are."""
        return self._device

    def take(self, indices: np.ndarray | torch.Tensor) -> ModelOutput:
        """Return the outputs of some candidates, in the order of ``indices``."""
        rows = indices.cpu().numpy() if isinstance(indices, torch.Tensor) else np.asarray(indices)
        return self._output(rows)

    def blocks(self, with_logits: bool = True) -> Iterator[tuple[slice, ModelOutput]]:
        """Yield the outputs of all candidates in order, in row blocks.

        Without logits, which saves their computation where they are not needed, those of a block
        have shape (n, 0).
        """
        starts = range(0, self._size, EMBEDDING_ROWS)
        hidden = not (self._progress and len(starts) > 1)
        for start in tqdm(starts, desc="pool", disable=hidden, leave=False):
            block = slice(start, min(start + EMBEDDING_ROWS, self._size))
            yield block, self._output(block) if with_logits else self._without_logits(block)

    def norms(self, growing_from: int) -> Iterator[tuple[slice, torch.Tensor]]:
        """Yield the norms of all embeddings in order; no logits are computed.

        The first block has ``growing_from`` rows; each next one has twice as many, up to the size
        of a full block.
        """
        start, rows = 0, growing_from
        while start < self._size:
            block = slice(start, min(start + rows, self._size))
            h = self._embedding(block)
            norms = torch.linalg.vector_norm(h, dim=1)
            if not torch.isfinite(norms.sum()):
                check_output(ModelOutput(h[:, :0], h), self._numbers(block), "candidate")
            yield block, norms
            start, rows = block.stop, min(2 * rows, EMBEDDING_ROWS)

    def outputs(self) -> ModelOutput:
        """Return the outputs of all candidates: N (d + K) numbers in memory."""
        return ModelOutput.cat(output for _, output in self.blocks())

    def scale(self) -> float:
        """Return the root mean square norm of 4,096 evenly spread embeddings, 1 where it is 0."""
        squares = self._evenly_spread().square()
        return float(squares.sum(dim=1).mean().sqrt()) or 1.0

    def mean(self) -> torch.Tensor:
        """Return the mean of 4,096 evenly spread embeddings, (d,), float64."""
        return self._evenly_spread().mean(dim=0)

    def _evenly_spread(self) -> torch.Tensor:
        rows = np.unique(np.linspace(0, self._size - 1, SCALE_ROWS).astype(np.int64))
        return self._without_logits(rows).embedding.double()

    @abstractmethod
    def _output(self, rows: Rows) -> ModelOutput:
        """Return the checked outputs of some candidates."""

    @abstractmethod
    def _embedding(self, rows: Rows) -> torch.Tensor:
        """Return the embeddings of some candidates, which need not be checked."""

    def _without_logits(self, rows: Rows) -> ModelOutput:
        h = self._embedding(rows)
        return check_output(ModelOutput(h[:, :0], h), self._numbers(rows), "candidate")

    def _numbers(self, rows: Rows) -> np.ndarray:
        """Return the numbers of some candidates in messages."""
        at = _as_array(rows)
        return at if self._positions is None else self._positions[at]


class OutputPool(Pool):
    """Candidates whose outputs are all in memory.

    Parameters
    ----------
    output : ModelOutput
        Of the N candidates, checked.
    progress : bool
        Show a bar on passes over the whole pool.
    center : Tensor of shape (d,), optional
        What is subtracted from the embeddings, which it is already.
    """

    def __init__(
        self, output: ModelOutput, *, progress: bool = False, center: torch.Tensor | None = None
    ) -> None:
        super().__init__(len(output), output.embedding.device, progress)
        self._outputs = output
        self.center = center

    def centered(self, center: torch.Tensor) -> OutputPool:
        """Return the same candidates with embeddings from another origin."""
        return OutputPool(self._outputs.shifted(center), progress=self._progress, center=center)

    def outputs(self) -> ModelOutput:
        """Return the outputs of all candidates, without a copy."""
        return self._outputs

    def _output(self, rows: Rows) -> ModelOutput:
        return self._outputs[self._index(rows)]

    def _embedding(self, rows: Rows) -> torch.Tensor:
        return self._outputs.embedding[self._index(rows)]

    def _without_logits(self, rows: Rows) -> ModelOutput:
        return self._output(rows).without_logits()

    def _index(self, rows: Rows) -> slice | torch.Tensor:
        return rows if isinstance(rows, slice) else torch.as_tensor(rows, device=self._device)


class EmbeddingPool(Pool):
    """Ready embeddings under a head, read anew at each pass.

    They may be memory-mapped and float16. They are read in blocks; only `outputs` reads them all
    into memory.

    Parameters
    ----------
    samples : Samples
        An array, a tensor or a table of shape (N, d), perhaps stored elsewhere.
    head : EmbeddingHead
    device, progress, positions
        See `Pool`.
    """

    def __init__(
        self,
        samples: Samples,
        head: EmbeddingHead,
        *,
        device: torch.device,
        progress: bool = False,
        positions: np.ndarray | None = None,
    ) -> None:
        super().__init__(len(samples), device, progress, positions)
        self._samples = samples
        self._head = head
        self._outputs: OutputPool | None = None

    def outputs(self) -> ModelOutput:
        """Return the outputs of all candidates; they stay in memory from now on."""
        if self._outputs is None:
            start = self._output(slice(0, 1))
            logits = start.logits.new_empty(self._size, start.logits.shape[1])
            ready = self._in_memory()
            embedding = ready
            if embedding is None:
                embedding = start.embedding.new_empty(self._size, start.embedding.shape[1])
            for block, output in self.blocks():
                logits[block] = output.logits
                if ready is None:
                    embedding[block] = output.embedding
            self._outputs = OutputPool(ModelOutput(logits, embedding))
        return self._outputs.outputs()

    def _in_memory(self) -> torch.Tensor | None:
        """Return the embeddings without a copy, where they are float32 in memory already."""
        ready = self._samples.in_memory
        if ready is None:
            return None
        h = as_embeddings(ready)
        return h if h.dtype == torch.float32 and h.device == self._device else None

    def _output(self, rows: Rows) -> ModelOutput:
        if self._outputs is not None:
            return self._outputs._output(rows)
        return run_batch(self._head, self._samples[rows], self._numbers(rows), self._device)

    def _embedding(self, rows: Rows) -> torch.Tensor:
        return as_embeddings(self._samples[rows]).to(self._device, torch.float32)


class LazyPool(Pool):
    """Candidates that are read through a function when they are asked for.

    The candidates of the latest read are kept.

    Parameters
    ----------
    read : callable
        Returns the samples at some ascending positions, (n,) int64.
    size : int
        Candidates, N.
    adapter : Adapter
    device : torch.device
    center : Tensor of shape (d,), optional
        Subtracted from the embeddings.

    Raises
    ------
    DataError
        Also where `read` returns another number of samples.
    """

    def __init__(
        self,
        read: Callable[[np.ndarray], Any],
        size: int,
        adapter: Adapter,
        *,
        device: torch.device,
        center: torch.Tensor | None = None,
    ) -> None:
        super().__init__(size, device)
        self.center = center
        self._read = read
        self._adapter = adapter
        self._latest: tuple[np.ndarray, ModelOutput] | None = None

    def _output(self, rows: Rows) -> ModelOutput:
        rows = _as_array(rows)
        if self._latest is None or not np.isin(rows, self._latest[0]).all():
            ascending = np.unique(rows)
            self._latest = ascending, self._run(ascending)
        known, output = self._latest
        return output[torch.from_numpy(np.searchsorted(known, rows)).to(self._device)]

    def _run(self, rows: np.ndarray) -> ModelOutput:
        samples = Samples(self._read(rows))
        if len(samples) != len(rows):
            raise DataError(
                f"reading {len(rows)} candidates gave {len(samples)}; expected one a position"
            )
        arguments: dict[str, Any] = {"device": self._device, "what": "candidate"}
        output = run_model(self._adapter, samples, positions=rows, **arguments)
        return output.shifted(self.center)

    def _embedding(self, rows: Rows) -> torch.Tensor:
        return self._output(rows).embedding


def open_pool(
    samples: Samples,
    adapter: Adapter,
    *,
    device: torch.device,
    progress: bool = False,
    positions: np.ndarray | None = None,
) -> Pool:
    """Return the pool of some samples; outputs that a model has to compute are computed now.

    Parameters
    ----------
    samples : Samples
    adapter : Adapter
    device, progress, positions
        See `Pool`.

    Raises
    ------
    DataError
    """
    head = embedding_head(adapter, samples)
    if head is not None:
        return EmbeddingPool(samples, head, device=device, progress=progress, positions=positions)
    if len(samples) == 0:
        raise DataError("the pool is empty; give at least one candidate")
    output = run_model(
        adapter,
        samples,
        device=device,
        what="candidate",
        progress=progress,
        positions=positions,
    )
    return OutputPool(output, progress=progress)


def _as_array(rows: Rows) -> np.ndarray:
    return np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows
