"""What every kind of model is turned into: an adapter that returns logits and embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch

__all__ = ["BLOCK_ROWS", "Adapter", "ModelOutput"]

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
    costs : Tensor of shape (n,), optional
        Of candidates: what it costs to label each; None stands for 1.
    """

    logits: torch.Tensor
    embedding: torch.Tensor
    targets: torch.Tensor | None = None
    noise: torch.Tensor | None = None
    costs: torch.Tensor | None = None

    @classmethod
    def cat(cls, outputs: Iterable[ModelOutput]) -> ModelOutput:
        """Return the outputs of consecutive batches as one.

        What some batches say of their labels and others do not is filled in there: targets are
        not known, and the noise is an ordinary label's.
        """
        outputs = list(outputs)
        if len(outputs) == 1:
            return outputs[0]
        return cls(
            torch.cat([output.logits for output in outputs]),
            torch.cat([output.embedding for output in outputs]),
            cat_filled(
                [output.targets for output in outputs],
                lambda at: torch.full_like(outputs[at].logits, torch.nan),
            ),
            cat_filled(
                [output.noise for output in outputs],
                lambda at: outputs[at].embedding.new_ones(len(outputs[at])),
            ),
            cat_filled(
                [output.costs for output in outputs],
                lambda at: outputs[at].embedding.new_ones(len(outputs[at])),
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

    def without_logits(self) -> ModelOutput:
        """Return the same outputs with logits of shape (n, 0)."""
        return replace(self, logits=self.embedding[:, :0])

    def shifted(self, center: torch.Tensor | None) -> ModelOutput:
        """Return the same outputs with embeddings from another origin; None leaves them."""
        return self if center is None else replace(self, embedding=self.embedding - center)

    def _each(self, change: Callable[[torch.Tensor], torch.Tensor]) -> ModelOutput:
        others = (self.targets, self.noise, self.costs)
        return ModelOutput(
            change(self.logits),
            change(self.embedding),
            *(None if part is None else change(part) for part in others),
        )


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
