"""What every kind of model is turned into: an adapter that returns logits and embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from ..errors import DataError, ModelError
from .tensors import as_tensor

__all__ = ["BLOCK_ROWS", "Adapter", "LinearHead", "ModelOutput"]

# Samples whose outputs are worked on at once: large enough for level 3 BLAS, small enough for a
# block's Gram matrix against 2,000 points to stay under 64 MiB.
BLOCK_ROWS = 8192


@dataclass(frozen=True)
class ModelOutput:
    """The two tensors that selection needs, for one batch of n samples.

    Attributes
    ----------
    logits : Tensor of shape (n, K), float32
        Outputs of the last linear layer, before any softmax or sigmoid. In regression: predictions.
    embedding : Tensor of shape (n, d), float32
        Inputs of the last linear layer (the penultimate activation).
    targets : Tensor of shape (n, K), optional
        Of labeled samples in regression: their labels, NaN where one is not known.
    noise : Tensor of shape (n,), optional
        Of labeled samples: the variance of a label's noise, in units of an ordinary label's.
    """

    logits: torch.Tensor
    embedding: torch.Tensor
    targets: torch.Tensor | None = None
    noise: torch.Tensor | None = None

    @classmethod
    def cat(cls, outputs: Iterable[ModelOutput]) -> ModelOutput:
        """Return the outputs of consecutive batches as one.

        What some batches say of their labels and others do not is filled in there: targets are
        not known, and the noise is an ordinary label's.
        """
        outputs = list(outputs)
        return cls(
            torch.cat([output.logits for output in outputs]),
            torch.cat([output.embedding for output in outputs]),
            cat_filled(
                [output.targets for output in outputs],
                lambda at: torch.full_like(outputs[at].logits, torch.nan),
            ),
            cat_filled(
                [output.noise for output in outputs],
                lambda at: torch.ones_like(outputs[at].logits[:, 0]),
            ),
        )

    def __len__(self) -> int:
        return len(self.logits)

    def __getitem__(self, rows: int | slice | torch.Tensor) -> ModelOutput:
        """Return the outputs of some samples; those of a single sample have one row."""
        if isinstance(rows, int):
            at = range(len(self))[rows]
            rows = slice(at, at + 1)
        return self._each(lambda part: part[rows])

    def to(self, device: torch.device) -> ModelOutput:
        """Return the same outputs on a device."""
        return self._each(lambda part: part.to(device))

    def without_labels(self) -> ModelOutput:
        """Return what the model says of the samples only."""
        return ModelOutput(self.logits, self.embedding)

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> ModelOutput:
        targets = None if self.targets is None else change(self.targets)
        noise = None if self.noise is None else change(self.noise)
        return ModelOutput(change(self.logits), change(self.embedding), targets, noise)


def cat_filled(
    parts: Sequence[torch.Tensor | None], fill: Callable[[int], torch.Tensor]
) -> torch.Tensor | None:
    """Return tensors as one, the missing ones made by ``fill``; None where all are missing."""
    if all(part is None for part in parts):
        return None
    return torch.cat([fill(at) if part is None else part for at, part in enumerate(parts)])


@runtime_checkable
class Adapter(Protocol):
    """A model seen by the sampler: raw samples in, a `ModelOutput` out.

    ``weight`` (K, d) and ``bias`` (K,) are the last linear layer, so that
    ``embedding @ weight.T + bias`` reproduces the logits; None for a plain callable.
    ``layer_name`` is what that layer is called, and ``sizes`` are d and K; None before they are
    known.
    """

    @property
    def layer_name(self) -> str | None: ...

    @property
    def sizes(self) -> tuple[int, int] | None: ...

    @property
    def weight(self) -> torch.Tensor | None: ...

    @property
    def bias(self) -> torch.Tensor | None: ...

    def __call__(self, batch: Any) -> ModelOutput:
        """Return the outputs of any number of samples (a tensor, an array or a list of them)."""
        ...


class LinearHead:
    """A linear head for candidates that are embeddings already.

    Parameters
    ----------
    weight : array of shape (K, d)
        One row per class (or per output, in regression).
    bias : array of shape (K,), optional
        Zeros when omitted.

    Raises
    ------
    ModelError
        When the shapes do not fit each other or a value is not finite.
    """

    layer_name = None

    def __init__(self, weight: Any, bias: Any | None = None) -> None:
        self.weight = as_tensor(weight, "weights of a LinearHead").to(torch.float32)
        if self.weight.ndim != 2 or 0 in self.weight.shape:
            raise ModelError(
                f"weight of a LinearHead has shape {tuple(self.weight.shape)}; "
                "expected (classes, embedding size), both at least 1"
            )
        n_outputs = self.weight.shape[0]
        zeros = np.zeros(n_outputs)
        self.bias = as_tensor(zeros if bias is None else bias, "biases of a LinearHead").to(
            self.weight
        )
        if self.bias.shape != (n_outputs,):
            raise ModelError(
                f"bias of a LinearHead has shape {tuple(self.bias.shape)}; expected ({n_outputs},)"
            )
        if not (torch.isfinite(self.weight).all() and torch.isfinite(self.bias).all()):
            raise ModelError("a LinearHead holds NaN or infinity; train it again")

    @classmethod
    def untrained(cls, n_outputs: int, n_features: int) -> LinearHead:
        """Return the head before any label: all logits are 0, so all classes are as likely."""
        return cls(np.zeros((n_outputs, n_features)))

    @classmethod
    def side_by_side(cls, heads: Sequence[LinearHead]) -> LinearHead:
        """Return one head whose logits are those of several on the same embeddings."""
        return cls(
            torch.cat([head.weight for head in heads]), torch.cat([head.bias for head in heads])
        )

    @property
    def sizes(self) -> tuple[int, int]:
        """The size of embeddings and the number of outputs."""
        n_outputs, n_features = self.weight.shape
        return n_features, n_outputs

    def __repr__(self) -> str:
        n_outputs, n_features = self.weight.shape
        return f"LinearHead(<{n_outputs} x {n_features} weights>)"

    def __call__(self, batch: Sequence[Any] | np.ndarray | torch.Tensor) -> ModelOutput:
        """Return logits for a batch of embeddings of shape (n, d)."""
        embedding = as_tensor(batch, "embeddings").to(self.weight)
        if embedding.ndim != 2 or embedding.shape[1] != self.weight.shape[1]:
            raise DataError(
                f"embeddings have shape {tuple(embedding.shape)}; "
                f"expected (n, {self.weight.shape[1]}) to fit the linear head"
            )
        logits = torch.nn.functional.linear(embedding, self.weight, self.bias)
        return ModelOutput(logits, embedding)
