"""Linear layers of a PyTorch module, recorded as they run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["LinearCall", "LinearLayer", "OperatorCalls", "linear_layers", "record_calls"]

LinearLayer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d

aten = torch.ops.aten
CONVOLUTIONS = (aten.convolution, aten.conv1d, aten.conv2d, aten.conv3d)


@dataclass(frozen=True)
class LinearCall:
    """One call of a linear layer, or of several whose results are added.

    ``input`` has shape (n, d) and ``output`` (n, K), or (n, T, d) and (n, T, K) where the layer
    runs on every token or pixel; ``weight`` (K, d) and ``bias`` (K,) are those in force. ``scale``
    is what the model multiplied the output by, which weight and bias contain.
    """

    names: tuple[str, ...]
    weight: torch.Tensor
    bias: torch.Tensor | None
    input: torch.Tensor
    output: torch.Tensor
    scale: float = 1.0

    @property
    def name(self) -> str:
        """What the layer is called in messages."""
        return " + ".join(self.names)

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

    def averaged(self, mask: torch.Tensor | None = None) -> LinearCall:
        """Return the call for the mean over the tokens of each sample, those of a mask (n, T)."""
        if mask is None:
            return replace(self, input=self.input.mean(dim=1), output=self.output.mean(dim=1))
        shares = (mask / mask.sum(dim=1, keepdim=True)).to(self.output.dtype)[:, :, None]
        features, output = ((shares * values).sum(dim=1) for values in (self.input, self.output))
        return replace(self, input=features, output=output)

    def times(self, scale: float) -> LinearCall:
        """Return the call of the layer whose results are those of this one times a number."""
        bias = None if self.bias is None else self.bias * scale
        return replace(
            self,
            weight=self.weight * scale,
            bias=bias,
            output=self.output * scale,
            scale=self.scale * scale,
        )

    @classmethod
    def total(cls, calls: Sequence[LinearCall]) -> LinearCall:
        """Return several calls as one of a layer that reads all their inputs side by side."""
        biases = [call.weight.new_zeros(1) if call.bias is None else call.bias for call in calls]
        return cls(
            tuple(name for call in calls for name in call.names),
            torch.cat([call.weight for call in calls], dim=1),
            torch.stack([b.expand(len(calls[0].weight)) for b in biases]).sum(dim=0),
            torch.cat([call.input for call in calls], dim=1),
            torch.stack([call.output for call in calls]).sum(dim=0),
        )


def linear_layers(module: nn.Module) -> dict[str, LinearLayer]:
    """Return the linear layers by qualified name, a shared one once; also 1x1 convolutions."""
    return {name: layer for name, layer in module.named_modules() if is_linear(layer)}


def is_linear(layer: nn.Module) -> TypeGuard[LinearLayer]:
    if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        plain = layer.padding != "same" and not any(layer.padding) and layer.groups == 1
        return plain and {*layer.kernel_size, *layer.stride} == {1}
    return isinstance(layer, nn.Linear)


def by_pixel(values: torch.Tensor) -> torch.Tensor:
    """Return maps (n, C, ...) of a convolution as (n, T, C), those of one pixel as (n, C)."""
    pixels = values.flatten(2).transpose(1, 2)
    return pixels[:, 0] if pixels.shape[1] == 1 else pixels


@contextmanager
def record_calls(layers: Mapping[str, LinearLayer]) -> Iterator[list[LinearCall]]:
    """Record every call of the given layers, in order, for as long as the context lasts."""
    calls: list[LinearCall] = []

    def hook_of(name: str) -> Any:
        def hook(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
            features, weight = args[0] if args else next(iter(kwargs.values())), layer.weight
            if weight.ndim > 2:  # of a convolution
                if features.ndim != weight.ndim:  # a single sample, without its dimension
                    return
                features, out, weight = by_pixel(features), by_pixel(out), weight.flatten(1)
            # Copies: what comes after may work in place.
            calls.append(LinearCall((name,), weight, layer.bias, features.clone(), out.clone()))

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
        output = result = func(*args, **(kwargs or {}))
        if func.overloadpacket in CONVOLUTIONS:
            arguments = read_convolution(args, result)
            output = result if arguments is None else by_pixel(result)
        else:
            arguments = read_linear(func, args, kwargs or {})
        if arguments is not None and self.shape in (None, tuple(arguments[1].shape)):
            features, weight, bias = arguments
            self.calls.append(LinearCall(("linear",), weight, bias, kept(features), kept(output)))
            self._product = output if bias is None else None
        elif self._product is not None and func.overloadpacket in (aten.add, aten.add_):
            self._add_bias(args, result)
        return result

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


def read_convolution(
    args: tuple[Any, ...], output: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None] | None:
    """Return input, weight and bias of a 1x1 convolution as of a linear layer; None of others."""
    features, weight, bias = (*args, None)[:3]
    pointwise = weight.shape[2:].numel() == 1 and weight.shape[1] == features.shape[1]
    if not pointwise or features.ndim != weight.ndim or features.shape[2:] != output.shape[2:]:
        return None
    return by_pixel(features), weight.flatten(1), bias


def kept(tensor: torch.Tensor) -> torch.Tensor:
    """Return a copy for use outside of inference mode: later code may work in place."""
    with torch.inference_mode(False), torch.no_grad():
        return tensor.clone()
