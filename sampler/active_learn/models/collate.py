"""Stacking of samples into the arrays that a model takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ..errors import DataError
from . import tensors

__all__ = ["as_tensor", "collate", "describe", "described"]

# What tokenizers return.
TOKENS = ("input_ids", "attention_mask", "token_type_ids")


def collate(samples: Any) -> Any:
    """Return a list of samples as stacked columns; batches of arrays pass through."""
    if not isinstance(samples, list):
        return samples
    first = samples[0]
    if isinstance(first, Mapping):
        return {name: stack([sample[name] for sample in samples], name) for name in first}
    if isinstance(first, (tuple, list)) and all(is_array(value) for value in first[:1]):
        return tuple(stack([sample[i] for sample in samples]) for i in range(len(first)))
    return stack(samples)


def stack(values: list[Any], name: str = "") -> torch.Tensor | np.ndarray:
    """Return one input of several samples, stacked; its name is for the message.

    Texts, which some ONNX models take, are returned as an array.
    """
    if isinstance(values[0], str):
        return np.array(values, dtype=object)
    shapes = {tuple(np.shape(value)) for value in values}
    if len(shapes) > 1:
        what = f"{name} of samples" if name else "samples"
        tokens = ": give (model, tokenizer), which pads them" if name in TOKENS else ""
        raise DataError(
            f"{what} have different shapes ({', '.join(map(str, sorted(shapes)[:3]))}); "
            f"expected one shape, pad or resize them{tokens}"
        )
    if isinstance(values[0], torch.Tensor):
        return torch.stack(values)
    return as_tensor(np.asarray(values))


def as_tensor(values: Any) -> torch.Tensor:
    """Return one input as a tensor that a model may write to."""
    tensor = tensors.as_tensor(values, "samples", "; for texts give (model, tokenizer)")
    read_only = isinstance(values, np.ndarray) and not values.flags.writeable
    return tensor.clone() if read_only else tensor


def is_array(value: Any) -> bool:
    return isinstance(value, (torch.Tensor, np.ndarray))


def describe(inputs: Any) -> str:
    """Return the shapes and types of the inputs, for a message."""
    if isinstance(inputs, Mapping):
        return ", ".join(f"{name} {describe(column)}" for name, column in inputs.items())
    if isinstance(inputs, tuple):
        return ", ".join(describe(column) for column in inputs)
    return f"{tuple(inputs.shape)} {str(inputs.dtype).removeprefix('torch.')}"


def described(row: Any) -> str:
    """Return what a sample of no known kind is, for a message."""
    if not isinstance(row, Mapping):
        return type(row).__name__
    names = ", ".join(repr(str(name)) for name in list(row)[:5])
    return f"a row with {names} (give one column)"
