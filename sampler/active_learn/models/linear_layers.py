"""Detection of a PyTorch module's last linear layer, whose output is the model's output."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from ..errors import ModelError

__all__ = [
    "LinearCall",
    "NoLinearLayer",
    "OperatorCalls",
    "find_last_call",
    "linear_layers",
    "model_logits",
    "pick_token",
    "record_calls",
]

aten = torch.ops.aten

# What may stand between the last linear layer and the model's output.
ACTIVATIONS: tuple[Callable[[torch.Tensor], torch.Tensor], ...] = (
    lambda z: z,
    lambda z: F.softmax(z, dim=-1),
    lambda z: F.log_softmax(z, dim=-1),
    torch.sigmoid,
    F.logsigmoid,
)


class NoLinearLayer(ModelError):
    """No linear layer computes the model's output."""


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

    def split(self, n_samples: int) -> LinearCall:
        """Return the call with rows grouped by sample, where they divide evenly."""
        if len(self.output) % n_samples:
            return self
        features, output = (
            values.reshape(n_samples, -1, values.shape[-1]) for values in (self.input, self.output)
        )
        return replace(self, input=features, output=output)

    def at(self, token: torch.Tensor) -> LinearCall:
        """Return the call for one token of each sample; ``token`` has shape (n,)."""
        rows = torch.arange(len(token), device=token.device)
        return replace(self, input=self.input[rows, token], output=self.output[rows, token])


def linear_layers(module: nn.Module) -> dict[str, nn.Linear]:
    """Return the linear layers by qualified name, a shared one once."""
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


class OperatorCalls(TorchDispatchMode):
    """Records linear layers by the operators that run, within its context.

    It sees heads without a module of their own: weights tied to an embedding, programs of
    `torch.export`, whose layers are dissolved into operators, and TorchScript, whose interpreter
    calls no hooks.

    Parameters
    ----------
    shape : tuple of int, optional
        Record only calls with a weight of this shape; the inputs of all others are let go.
    """

    def __init__(self, shape: tuple[int, ...] | None = None) -> None:
        super().__init__()
        self.shape = shape
        self.calls: list[LinearCall] = []
        self._product: torch.Tensor | None = None

    def __enter__(self) -> list[LinearCall]:
        # Else layers would arrive as products of flattened rows, of all samples and tokens.
        self._inference = torch.inference_mode()
        self._inference.__enter__()
        super().__enter__()
        return self.calls

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._inference.__exit__(*error)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        arguments = read_linear(func, args, kwargs or {})
        if arguments is not None and self.shape in (None, tuple(arguments[1].shape)):
            features, weight, bias = arguments
            self.calls.append(LinearCall("linear", weight, bias, kept(features), kept(output)))
            self._product = output if bias is None else None
        elif self._product is not None and func.overloadpacket in (aten.add, aten.add_):
            self._add_bias(args, output)
        return output

    def _add_bias(self, args: tuple[Any, ...], output: torch.Tensor) -> None:
        """Record a vector that is added to the last product as the bias of its layer."""
        others = [arg for arg in args[:2] if arg is not self._product]
        bias = others[0] if len(others) == 1 else None
        if isinstance(bias, torch.Tensor) and bias.numel() == bias.shape[-1] == output.shape[-1]:
            call = replace(self.calls[-1], bias=bias.reshape(-1), output=kept(output))
            self.calls[-1], self._product = call, None


def read_linear(
    func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None] | None:
    """Return input, weight (K, d), bias of an operator that is a linear layer; None of others."""
    if func.overloadpacket is aten.linear:
        arguments = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
        return arguments["input"], arguments["weight"], arguments.get("bias")
    if func.overloadpacket is aten.addmm and not kwargs and args[0].ndim == 1:
        return args[1], args[2].T, args[0]
    if func.overloadpacket in (aten.mm, aten.matmul) and args[1].ndim == 2:
        return args[0], args[1].T, None
    return None


def kept(tensor: torch.Tensor) -> torch.Tensor:
    """Return a copy for use outside of inference mode: later code may work in place."""
    with torch.inference_mode(False), torch.no_grad():
        return tensor.clone()


def model_logits(output: Any) -> torch.Tensor:
    """Return the tensor of predictions, (n, K), in what a model returns."""
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
    """Return the last call whose output is the model's output, or becomes it by an activation.

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
    """Return the call as it matches the model's output; None when it does not."""
    n_samples = logits.shape[0]
    if call.output.ndim == 2 and n_samples < len(call.output):  # the tokens of all samples in a row
        call = call.split(n_samples)
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
    """Return the token of each sample whose logits, softmax or sigmoid the model returned.

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
    """Return which rows are equal to a few roundings of their type; NaN equals NaN."""
    tolerance = 8 * torch.finfo(right.dtype).eps
    scale = torch.nan_to_num(right.float(), posinf=0.0, neginf=0.0).abs().amax().item()
    return torch.isclose(
        left.float(), right.float(), rtol=tolerance, atol=tolerance * scale, equal_nan=True
    ).all(dim=-1)
