"""Turns whatever the user calls a model into an adapter."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ..errors import ModelError
from .base import Adapter, LinearHead
from .batched import BatchedAdapter
from .callable_model import CallableModel
from .torch_module import TorchModule

__all__ = ["adapt"]


def adapt(
    model: Any,
    *,
    problem_type: str,
    layer: str | nn.Module | None = None,
    device: str | torch.device | None = None,
    batch_size: int | str = "auto",
) -> Adapter:
    """Wrap a model of any known kind.

    Parameters
    ----------
    model : LinearHead, nn.Module, callable
        What to select for.
    problem_type : {'classification', 'regression', 'multilabel'}
    layer : str or nn.Module, optional
        The linear layer that gives the logits, where it cannot be found (PyTorch only).
    device : str or torch.device, optional
        Where to run the model; where it lies when omitted.
    batch_size : int or 'auto'
        Samples per call of the model; 'auto' halves it when memory runs out.

    Returns
    -------
    Adapter
        Called with any number of samples, it gives their `ModelOutput`.

    Raises
    ------
    ModelError
        When the model is of no known kind.
    """
    if isinstance(model, (LinearHead, BatchedAdapter)):
        return model
    if isinstance(model, nn.Module):
        return TorchModule(
            model, problem_type=problem_type, layer=layer, device=device, batch_size=batch_size
        )
    if callable(model):
        return CallableModel(model, problem_type=problem_type, batch_size=batch_size)
    raise ModelError(
        f"a model of type {type(model).__name__} is not known; expected a PyTorch module, "
        "(model, tokenizer), an ONNX file, a callable that returns (logits, embedding), "
        "or a LinearHead"
    )
