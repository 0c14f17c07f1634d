"""The pool: candidates read in row blocks, so that the whole need not be in memory."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ..errors import DataError
from ..models import Adapter, LinearHead, ModelOutput
from ..posterior.posterior import BLOCK_ROWS
from .samples import Samples

__all__ = ["Pool", "UnreadPool", "run_batch", "run_model"]

# Rows of ready embeddings that are read at once; a model that computes them takes fewer.
EMBEDDING_ROWS = BLOCK_ROWS
# Samples handed to a model at once; it goes through them in batches of its own size.
MODEL_ROWS = 4096
SCALE_ROWS = 4096


def check_output(output: ModelOutput, positions: int | np.ndarray, what: str) -> ModelOutput:
    """Refuse NaN and infinity, naming the first sample that has one.

    ``positions`` are those of the samples, or that of the first of consecutive ones.

    Raises
    ------
    DataError
    """
    for name, values in (("embedding", output.embedding), ("logits", output.logits)):
        # A finite sum leaves no room for NaN or infinity; only others pay for a closer look.
        if torch.isfinite(values.sum()):
            continue
        bad = ~torch.isfinite(values).all(dim=1)
        if bad.any():
            at = int(bad.nonzero()[0, 0])
            index = positions + at if isinstance(positions, int) else positions[at]
            raise DataError(
                f"the {name} of {what} {index} holds NaN or infinity; "
                "remove it, or check how it was encoded"
            )
    return output


def run_model(
    adapter: Adapter,
    samples: Samples,
    *,
    device: torch.device,
    what: str = "sample",
    progress: bool = False,
    positions: np.ndarray | None = None,
) -> ModelOutput:
    """Run the model over samples and keep all its outputs.

    Parameters
    ----------
    adapter : Adapter
    samples : Samples
    device : torch.device
        Where the outputs go.
    what : str
        What a sample is called in messages.
    progress : bool
    positions : ndarray of int64 of shape (n,), optional
        Numbers of the samples in messages; their places when omitted.

    Returns
    -------
    ModelOutput
        On ``device``, float32.

    Raises
    ------
    DataError
        When an output holds NaN or infinity.
    """
    starts = range(0, len(samples), MODEL_ROWS)
    outputs = []
    for start in tqdm(starts, desc="model", disable=not progress, leave=False):
        rows = slice(start, start + MODEL_ROWS)
        at = start if positions is None else positions[rows]
        outputs.append(run_batch(adapter, samples[rows], at, device, what))
    return ModelOutput(
        torch.cat([output.logits for output in outputs]),
        torch.cat([output.embedding for output in outputs]),
    )


def run_batch(
    adapter: Adapter,
    batch: Any,
    positions: int | np.ndarray,
    device: torch.device,
    what: str = "candidate",
) -> ModelOutput:
    """Run the model on one batch of samples at ``positions``, or from one position on."""
    if isinstance(adapter, LinearHead):
        batch = as_tensor(batch)
    output = check_output(adapter(batch), positions, what)
    return ModelOutput(
        output.logits.detach().float().to(device), output.embedding.detach().float().to(device)
    )


class Pool:
    """N candidates as logits and embeddings, read by rows.

    Ready embeddings (a linear head over an array, which may be memory-mapped and float16) are read
    anew at each pass and never held as a whole; what a model has to compute is computed once.

    Parameters
    ----------
    samples : Samples
    adapter : Adapter
    device : torch.device
        Where outputs go.
    progress : bool
        Show a bar on passes over the whole pool.
    positions : ndarray of int64 of shape (N,), optional
        Numbers of the candidates in messages, where the pool is a part of another.

    Raises
    ------
    DataError
        When the pool is empty, or an output holds NaN or infinity.
    """

    def __init__(
        self,
        samples: Samples,
        adapter: Adapter,
        *,
        device: torch.device,
        progress: bool = False,
        positions: np.ndarray | None = None,
    ) -> None:
        self._samples = samples
        self._length = len(samples)
        self._positions = positions
        if self._length == 0:
            raise DataError("the pool is empty; give at least one candidate")
        self._device = device
        self._progress = progress
        self._held: ModelOutput | None = None
        self._head: LinearHead | None = None
        if isinstance(adapter, LinearHead) and samples.is_array:
            self._head = adapter
        else:
            self._held = run_model(
                adapter,
                samples,
                device=device,
                what="candidate",
                progress=progress,
                positions=positions,
            )

    @classmethod
    def of_outputs(cls, output: ModelOutput) -> Pool:
        """Give a pool of candidates whose outputs are there already."""
        pool = cls.__new__(cls)
        pool._length, pool._device = len(output.embedding), output.embedding.device
        pool._held, pool._head, pool._positions, pool._progress = output, None, None, False
        return pool

    def __len__(self) -> int:
        return self._length

    @property
    def device(self) -> torch.device:
        """Where outputs are."""
        return self._device

    def take(self, indices: np.ndarray | torch.Tensor) -> ModelOutput:
        """Give the outputs of some candidates, in the order of ``indices``."""
        rows = np.asarray(indices.cpu() if isinstance(indices, torch.Tensor) else indices)
        if self._held is not None:
            at = torch.as_tensor(rows, device=self._device)
            return ModelOutput(self._held.logits[at], self._held.embedding[at])
        return self._output(rows)

    def blocks(self, with_logits: bool = True) -> Iterator[tuple[slice, ModelOutput]]:
        """Go through all candidates in order, in row blocks; logits that can wait may be left out.

        Logits that are left out have shape (n, 0).
        """
        rows = EMBEDDING_ROWS
        starts = range(0, self._length, rows)
        bar = tqdm(
            starts, desc="pool", disable=not (self._progress and len(starts) > 1), leave=False
        )
        for start in bar:
            block = slice(start, min(start + rows, self._length))
            if self._held is not None:
                yield block, ModelOutput(self._held.logits[block], self._held.embedding[block])
            elif with_logits:
                yield block, self._output(block)
            else:
                yield block, self._embedding(block)

    def norms(self, growing_from: int) -> Iterator[tuple[slice, torch.Tensor]]:
        """Go through the norms of all embeddings, without the logits where those can wait.

        The blocks have ``growing_from`` rows at first and double up to full size.
        """
        start, rows = 0, growing_from
        while start < self._length:
            block = slice(start, min(start + rows, self._length))
            h = self._held.embedding[block] if self._held is not None else self._read(block)
            norms = torch.linalg.vector_norm(h, dim=1)
            if not torch.isfinite(norms.sum()):
                check_output(ModelOutput(h[:0], h), self._number(block), "candidate")
            yield block, norms
            start, rows = block.stop, min(2 * rows, EMBEDDING_ROWS)

    def outputs(self) -> ModelOutput:
        """Give the outputs of all candidates; holds N (d + K) numbers."""
        if self._held is None:
            first = self._output(slice(0, 1))
            logits = first.logits.new_empty(self._length, first.logits.shape[1])
            embedding = self._in_memory()
            copy = embedding is None
            if embedding is None:
                embedding = first.embedding.new_empty(self._length, first.embedding.shape[1])
            for block, output in self.blocks():
                logits[block] = output.logits
                if copy:
                    embedding[block] = output.embedding
            self._held = ModelOutput(logits, embedding)
        return self._held

    def _in_memory(self) -> torch.Tensor | None:
        """Give the embeddings without a copy, where they are float32 in memory already."""
        h = self._samples.samples
        if isinstance(h, np.memmap):
            return None
        h = as_tensor(h)
        ready = h.dtype == torch.float32 and h.device == self._device
        return h if ready else None

    def scale(self) -> float:
        """Give the root mean square norm of 4,096 evenly spread embeddings, or 1 where it is 0."""
        rows = np.unique(np.linspace(0, self._length - 1, SCALE_ROWS).astype(np.int64))
        squares = self._embedding(rows).embedding.double().square()
        return float(squares.sum(dim=1).mean().sqrt()) or 1.0

    def _number(self, rows: Any) -> np.ndarray:
        """Give the numbers of some rows in messages."""
        at = np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows
        return at if self._positions is None else self._positions[at]

    def _output(self, rows: Any) -> ModelOutput:
        assert self._head is not None
        return run_batch(self._head, self._samples[rows], self._number(rows), self._device)

    def _embedding(self, rows: Any) -> ModelOutput:
        """Give the embeddings of some rows with logits of shape (n, 0)."""
        h = self._read(rows) if self._held is None else self._held.embedding[rows]
        return check_output(ModelOutput(h[:, :0], h), self._number(rows), "candidate")

    def _read(self, rows: Any) -> torch.Tensor:
        return as_tensor(self._samples[rows]).to(self._device, torch.float32)


class UnreadPool(Pool):
    """A pool of which only those rows are read that are asked for; the latest are kept.

    Parameters
    ----------
    read : callable
        Gives the samples at some ascending positions, (n,) int64.
    size : int
        Candidates, N.
    adapter : Adapter
    device : torch.device

    Raises
    ------
    DataError
        Where `read` gives another number of samples, or an output holds NaN or infinity.
    """

    def __init__(
        self,
        read: Callable[[np.ndarray], Any],
        size: int,
        adapter: Adapter,
        *,
        device: torch.device,
    ) -> None:
        if size < 1:
            raise DataError("the pool is empty; give at least one candidate")
        self._read_samples, self._adapter = read, adapter
        self._length, self._device = size, device
        self._latest: tuple[np.ndarray, ModelOutput] | None = None

    def take(self, indices: np.ndarray | torch.Tensor) -> ModelOutput:
        """Give the outputs of some candidates, at ascending positions."""
        rows = np.asarray(indices)
        if self._latest is None or not np.isin(rows, self._latest[0]).all():
            samples = Samples(self._read_samples(rows))
            if len(samples) != len(rows):
                raise DataError(
                    f"reading {len(rows)} candidates gave {len(samples)}; expected one a position"
                )
            output = run_model(
                self._adapter, samples, device=self._device, what="candidate", positions=rows
            )
            self._latest = rows, output
        known, output = self._latest
        at = torch.from_numpy(np.searchsorted(known, rows)).to(self._device)
        return ModelOutput(output.logits[at], output.embedding[at])

    def _embedding(self, rows: np.ndarray) -> ModelOutput:
        return self.take(rows)


def as_tensor(embeddings: Any) -> torch.Tensor:
    """Give embeddings as a tensor, without a copy: it is never written to, it may be read-only.

    Raises
    ------
    DataError
        When they are no numbers, or rows differ in length.
    """
    if not isinstance(embeddings, torch.Tensor):
        try:
            embeddings = np.asarray(embeddings)
        except ValueError as error:
            raise DataError(
                "embeddings differ in length; expected rows of one length, (n, d)"
            ) from error
        if embeddings.dtype.kind not in "fiub":
            raise DataError(
                f"embeddings hold {embeddings.dtype}; expected real numbers (a linear head takes "
                "embeddings; give the model that makes them to select from anything else)"
            )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
            embeddings = torch.as_tensor(embeddings)
    if embeddings.is_complex():
        raise DataError(f"embeddings hold {embeddings.dtype}; expected real numbers")
    return embeddings
