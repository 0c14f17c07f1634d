"""Running a model over samples, with checks of what goes in and what comes out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from ..errors import DataError
from ..models import Adapter, BatchedAdapter, EmbeddingHead, ModelOutput
from ..models.tensors import as_tensor
from .samples import Samples

__all__ = ["as_embeddings", "check_output", "embedding_head", "run_batch", "run_model"]

# Samples that are passed to a model at once; it runs them in batches of its own size.
MODEL_ROWS = 4096
LINEAR_HEAD_ADVICE = (
    " (a linear head takes embeddings; give the model that makes them to select from anything else)"
)


def check_output(output: ModelOutput, positions: int | np.ndarray, what: str) -> ModelOutput:
    """Check that outputs hold no NaN and no infinity; the error names the first such sample.

    ``positions`` are the samples' numbers, or the number of the first of consecutive samples.

    Raises
    ------
    DataError
    """
    for name, values in (("embedding", output.embedding), ("logits", output.logits)):
        # A finite sum rules out NaN and infinity; only other sums need the check of each row.
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
    """Return the model's outputs of all samples.

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
    whole: ModelOutput | None = None
    for start in tqdm(starts, desc="model", disable=not progress, leave=False):
        rows = slice(start, start + MODEL_ROWS)
        at = start if positions is None else positions[rows]
        output = run_batch(adapter, samples[rows], at, device, what)
        if len(output) == len(samples):
            return output
        if whole is None:  # all are written to their place at once: a second copy costs as much
            whole = ModelOutput(
                output.logits.new_empty(len(samples), output.logits.shape[1]),
                output.embedding.new_empty(len(samples), output.embedding.shape[1]),
                costs=None if output.costs is None else output.costs.new_empty(len(samples)),
            )
        whole.logits[rows], whole.embedding[rows] = output.logits, output.embedding
        if whole.costs is not None and output.costs is not None:
            whole.costs[rows] = output.costs
    assert whole is not None
    return whole


def run_batch(
    adapter: Adapter,
    batch: Any,
    positions: int | np.ndarray,
    device: torch.device,
    what: str = "candidate",
) -> ModelOutput:
    """Return the model's outputs of one batch; for ``positions`` see `check_output`."""
    if isinstance(adapter, EmbeddingHead):
        batch = as_embeddings(batch)
    output = check_output(adapter(batch), positions, what)
    logits, embedding = output.logits.detach().float(), output.embedding.detach().float()
    return ModelOutput(logits, embedding, costs=output.costs).to(device)


def as_embeddings(batch: Any) -> torch.Tensor:
    """Return embeddings as a tensor that shares their memory, so that it must not be written to."""
    first = batch[0] if isinstance(batch, list) and batch else None
    if isinstance(first, tuple) and np.ndim(first[0]) == 1:  # (embedding, label)
        batch = [row[0] for row in batch]
    return as_tensor(batch, "embeddings", LINEAR_HEAD_ADVICE)


def embedding_head(adapter: Adapter, samples: Samples) -> EmbeddingHead | None:
    """Return the head under which samples are embeddings already; None where a model has to run."""
    if not samples.is_array:
        return None
    if isinstance(adapter, EmbeddingHead):
        return adapter
    rows = samples.in_memory
    if isinstance(adapter, BatchedAdapter) and getattr(rows, "ndim", 0) == 2 and len(rows):
        return adapter.linear_head(rows.shape[1])
    return None
