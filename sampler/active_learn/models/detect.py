"""Finds the last linear layer of a PyTorch module: the one whose output is the model's output."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ..errors import ModelError

__all__ = [
    "FunctionalCalls",
    "LinearCall",
    "NoLinearLayer",
    "find_last_call",
    "linear_layers",
    "model_logits",
    "pick_token",
    "record_calls",
]

# What may stand between the last linear layer and the model's output.
ACTIVATIONS: tuple[Callable[[torch.Tensor], torch.Tensor], ...] = (
    lambda z: z,
    lambda z: F.softmax(z, dim=-1),
    lambda z: F.log_softmax(z, dim=-1),
    torch.sigmoid,
    F.logsigmoid,
)


class NoLinearLayer(ModelError):
    """No linear layer was seen to make the model's output."""


@dataclass(frozen=True)
class LinearCall:
    """One call of a linear layer.

    ``input`` has shape (n, d) and ``output`` (n, K), or (n, T, d) and (n, T, K) where the layer
    runs on every token; ``weight`` (K, d) and ``bias`` (K,) are those in force.
    """

    name: str
    weight: torch.Tensor
    bias: torch.Tensor | None
    input: torch.Tensor
    output: torch.Tensor

    def at(self, token: torch.Tensor) -> LinearCall:
        """Keep one token of each sample; ``token`` has shape (n,)."""
        rows = torch.arange(len(token), device=token.device)
        return replace(self, input=self.input[rows, token], output=self.output[rows, token])


def linear_layers(module: nn.Module) -> dict[str, nn.Linear]:
    """List the linear layers by qualified name, a shared one once."""
    return {name: layer for name, layer in module.named_modules() if isinstance(layer, nn.Linear)}


@contextmanager
def record_calls(layers: Mapping[str, nn.Linear]) -> Iterator[list[LinearCall]]:
    """Record every call of the given layers, in order, for as long as the context lasts."""
    calls: list[LinearCall] = []

    def hook_of(name: str) -> Any:
        def hook(layer: nn.Linear, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
            features = args[0] if args else next(iter(kwargs.values()))
            # Copies: what comes after may work in place.
            calls.append(LinearCall(name, layer.weight, layer.bias, features.clone(), out.clone()))

        return hook

    hooks = [
        layer.register_forward_hook(hook_of(name), with_kwargs=True)
        for name, layer in layers.items()
    ]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


class FunctionalCalls(TorchFunctionMode):
    """Records `torch.nn.functional.linear` wherever it is called, within its context.

    It sees heads without a module of their own: weights tied to an embedding, and programs of
    `torch.export`, whose layers are dissolved into operators.

    Parameters
    ----------
    shape : tuple of int, optional
        Record only calls with a weight of this shape; the inputs of all others are let go.
    """

    def __init__(self, shape: tuple[int, ...] | None = None) -> None:
        super().__init__()
        self.shape = shape
        self.calls: list[LinearCall] = []

    def __enter__(self) -> list[LinearCall]:
        super().__enter__()
        return self.calls

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if func in (F.linear, torch.ops.aten.linear.default):
            arguments = dict(zip(("input", "weight", "bias"), args, strict=False))
            arguments = {"bias": None, **arguments, **(kwargs or {})}
            if self.shape in (None, tuple(arguments["weight"].shape)):
                arguments["input"] = arguments["input"].clone()
                self.calls.append(LinearCall("linear", output=output.clone(), **arguments))
        return output


def model_logits(output: Any) -> torch.Tensor:
    """Pick the tensor of predictions out of whatever a model returns, as (n, K)."""
    if isinstance(output, Mapping) and "logits" in output:
        output = output["logits"]
    elif hasattr(output, "logits"):
        output = output.logits
    elif isinstance(output, (tuple, list)) and output:
        output = output[0]
    if not isinstance(output, torch.Tensor):
        raise ModelError(
            f"the model returns {type(output).__name__}; expected a tensor, a tuple that starts "
            "with one, or an object with `logits`"
        )
    if output.ndim < 2:  # a regressor that squeezes its only output
        output = output.reshape(-1, 1)
    if output.ndim > 2:
        raise ModelError(
            f"the model's output has shape {tuple(output.shape)}; expected (n, outputs), "
            "one row a sample"
        )
    return output


def find_last_call(calls: list[LinearCall], logits: torch.Tensor) -> LinearCall:
    """Find the last call whose output is the model's output, or becomes it by an activation.

    Returns
    -------
    LinearCall
        With 2-dimensional input and output: of a layer that runs on every token, the token that
        the model took (the last token, the first, ... whichever it is) is picked out.

    Raises
    ------
    NoLinearLayer
        When no call fits; the message names the candidates.
    """
    for call in reversed(calls):
        found = reduce_call(call, logits)
        if found is not None:
            return found
    if not calls:
        raise NoLinearLayer(
            "no linear layer ran in the model; give a callable that returns (logits, embedding)"
        )
    last = calls[-1]
    raise NoLinearLayer(
        f"the model's output {tuple(logits.shape)} is not the output of a linear layer, nor its "
        f"softmax or sigmoid; the last linear layer that ran is {last.name!r} with output "
        f"{tuple(last.output.shape)}: choose one by layer=, or give a callable that returns "
        "(logits, embedding)"
    )


def reduce_call(call: LinearCall, logits: torch.Tensor) -> LinearCall | None:
    """Match one call with the model's output; None when it did not make it."""
    n_samples = logits.shape[0]
    fits = (
        call.output.ndim in (2, 3)
        and call.output.shape[0] == n_samples
        and call.output.shape[-1] == logits.shape[1]
    )
    if not fits:
        return None
    if call.output.ndim == 3:
        token = pick_token(call.output, logits)
        if token is None:
            return None
        return call.at(token)
    made = any(same_rows(apply(call.output), logits).all() for apply in ACTIVATIONS)
    return call if made else None


def pick_token(token_logits: torch.Tensor, logits: torch.Tensor) -> torch.Tensor | None:
    """Find the token of each sample whose logits the model gave, or their softmax or sigmoid.

    Parameters
    ----------
    token_logits : Tensor of shape (n, T, K)
    logits : Tensor of shape (n, K)

    Returns
    -------
    Tensor of shape (n,), int64, or None
        Of equal tokens the last, since decoders predict at the last one. None when the model's
        output is no token's.
    """
    for apply in ACTIVATIONS:
        matches = same_rows(apply(token_logits), logits.unsqueeze(1))
        if matches.any(dim=1).all():
            return matches.shape[1] - 1 - matches.flip(1).int().argmax(dim=1)
    return None


def same_rows(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Compare rows to a few roundings of their type; NaN equals NaN, to be reported as such."""
    tolerance = 8 * torch.finfo(right.dtype).eps
    scale = torch.nan_to_num(right.float(), posinf=0.0, neginf=0.0).abs().amax().item()
    return torch.isclose(
        left.float(), right.float(), rtol=tolerance, atol=tolerance * scale, equal_nan=True
    ).all(dim=-1)
