"""Heads for candidates that are embeddings already."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from ..errors import DataError, ModelError
from .base import ModelOutput
from .tensors import as_tensor

__all__ = ["EmbeddingHead", "LinearHead", "NonlinearHead"]


class EmbeddingHead(ABC):
    """An adapter whose samples are embeddings, which it passes on with their logits."""

    kind: ClassVar[str]
    layer_name = None
    weight: torch.Tensor | None
    bias: torch.Tensor | None

    @property
    @abstractmethod
    def sizes(self) -> tuple[int, int]:
        """The size of embeddings and the number of outputs."""

    @staticmethod
    def side_by_side(heads: Sequence[EmbeddingHead]) -> EmbeddingHead:
        """Return one head whose logits are those of several on the same embeddings."""
        linear = [head for head in heads if isinstance(head, LinearHead)]
        if len(linear) < len(heads):
            n_outputs = sum(head.sizes[1] for head in heads)
            return NonlinearHead(_SideBySide(tuple(heads)), heads[0].sizes[0], n_outputs)
        return LinearHead(
            torch.cat([head.weight for head in linear]), torch.cat([head.bias for head in linear])
        )

    @abstractmethod
    def logits(self, embedding: torch.Tensor) -> torch.Tensor:
        """Return the logits of embeddings."""

    def __call__(self, batch: Sequence[Any] | np.ndarray | torch.Tensor) -> ModelOutput:
        """Return logits for a batch of embeddings of shape (n, d)."""
        embedding = as_tensor(batch, "embeddings")
        embedding = (
            embedding.to(torch.float32) if self.weight is None else embedding.to(self.weight)
        )
        if embedding.ndim != 2 or embedding.shape[1] != self.sizes[0]:
            raise DataError(
                f"embeddings have shape {tuple(embedding.shape)}; "
                f"expected (n, {self.sizes[0]}) to fit the {self.kind}"
            )
        return ModelOutput(self.logits(embedding), embedding)


class LinearHead(EmbeddingHead):
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

    kind = "linear head"
    weight: torch.Tensor
    bias: torch.Tensor

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

    @property
    def sizes(self) -> tuple[int, int]:
        """The size of embeddings and the number of outputs."""
        n_outputs, n_features = self.weight.shape
        return n_features, n_outputs

    def __repr__(self) -> str:
        n_outputs, n_features = self.weight.shape
        return f"LinearHead(<{n_outputs} x {n_features} weights>)"

    def logits(self, embedding: torch.Tensor) -> torch.Tensor:
        """Return the logits of embeddings."""
        return torch.nn.functional.linear(embedding, self.weight, self.bias)


class NonlinearHead(EmbeddingHead):
    """A head that is not linear, for candidates that are embeddings already.

    Selection compares the embeddings themselves, so that it means the same before and after a head
    bends.

    Parameters
    ----------
    predict : callable
        Returns the logits (n, K) of embeddings (n, d), an array of float32.
    n_features, n_outputs : int
        d and K.
    """

    kind = "head"
    weight = None
    bias = None

    def __init__(
        self, predict: Callable[[np.ndarray], np.ndarray], n_features: int, n_outputs: int
    ) -> None:
        self._predict = predict
        self._sizes = n_features, n_outputs

    @property
    def sizes(self) -> tuple[int, int]:
        """The size of embeddings and the number of outputs."""
        return self._sizes

    def __repr__(self) -> str:
        return f"NonlinearHead(<{self._sizes[0]} features, {self._sizes[1]} outputs>)"

    def logits(self, embedding: torch.Tensor) -> torch.Tensor:
        """Return the logits of embeddings."""
        return torch.from_numpy(self._predict(embedding.cpu().numpy())).to(embedding)


@dataclass(frozen=True)
class _SideBySide:
    """The logits of several heads; a class, as functions within functions cannot be pickled."""

    heads: tuple[EmbeddingHead, ...]

    def __call__(self, embeddings: np.ndarray) -> np.ndarray:
        rows = torch.from_numpy(embeddings)
        return torch.cat([head.logits(rows) for head in self.heads], dim=1).numpy()
