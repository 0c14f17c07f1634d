"""A plain callable that returns logits and embeddings itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ..errors import DataError, ModelError, first_line
from .base import ModelOutput
from .batched import BatchedAdapter, is_out_of_memory
from .linear_check import require_linear, require_linear_fit
from .tensors import as_tensor

__all__ = ["CallableModel"]


class CallableModel(BatchedAdapter):
    """A callable that takes a batch of samples and returns ``(logits, embedding)``.

    Where the callable has attributes ``weight`` (K, d) and ``bias`` (K,), the logits are checked
    against them. Otherwise the first d + 33 samples or more, as they come, are checked for
    whether any linear layer leads from embedding to logits.

    Parameters
    ----------
    function : callable
        Gets a batch of the kind that the samples come in (a tensor, array or list), at most
        ``batch_size`` samples long. Returns arrays or tensors of shapes (n, K) and (n, d).
    batch_size : int or 'auto'
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        *,
        batch_size: int | str = "auto",
    ) -> None:
        super().__init__(batch_size)
        self.function = function
        self._unchecked: list[ModelOutput] | None = []

    def _forward(self, samples: Any) -> ModelOutput:
        try:
            returned = self.function(samples)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise ModelError(f"the callable failed: {first_line(error)}") from error
        if not isinstance(returned, (tuple, list)) or len(returned) != 2:
            raise ModelError(
                f"the callable returns {type(returned).__name__}; expected (logits, embedding)"
            )
        logits, embedding = (as_matrix(values) for values in returned)
        weight = getattr(self.function, "weight", None)
        if weight is None:
            self._check_fit(ModelOutput(logits, embedding))
        elif logits.ndim == embedding.ndim == 2:
            self.weight = as_matrix(weight)
            bias = getattr(self.function, "bias", None)
            zeros = self.weight.new_zeros(self.weight.shape[0])
            self.bias = zeros if bias is None else as_matrix(bias).reshape(-1)
            require_linear(logits, embedding, self.weight, self.bias, torch.float32, "the callable")
        return ModelOutput(logits, embedding)

    def _check_fit(self, output: ModelOutput) -> None:
        """Collect rows until a linear fit is over-determined, then check it once and drop them."""
        well_formed = (
            output.logits.ndim == output.embedding.ndim == 2
            and len(output.logits) == len(output.embedding)
            and bool(torch.isfinite(output.logits).all() & torch.isfinite(output.embedding).all())
        )
        if self._unchecked is None or not well_formed:
            return
        self._unchecked.append(output)
        size = output.embedding.shape[1]
        if sum(map(len, self._unchecked)) < size + 1 + max(32, size // 4):
            return
        seen, self._unchecked = ModelOutput.cat(self._unchecked), None
        require_linear_fit(seen.logits, seen.embedding)


def as_matrix(values: Any) -> torch.Tensor:
    """Return logits or embeddings that a callable returned, as float32."""
    try:
        return as_tensor(values, "logits or embeddings").float()
    except DataError as error:
        raise ModelError(f"of what the callable returns, {error}") from error
