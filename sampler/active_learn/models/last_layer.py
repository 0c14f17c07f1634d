"""Which recorded linear layer computes a model's output, and by which simple step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn import functional as F

from ..errors import ModelError
from .linear_layers import LinearCall

__all__ = ["Hints", "NoLinearLayer", "find_last_call", "model_logits", "pick_token"]

# What may stand between the last linear layer and the model's output.
ACTIVATIONS: tuple[Callable[[torch.Tensor], torch.Tensor], ...] = (
    lambda z: z,
    lambda z: F.softmax(z, dim=-1),
    lambda z: F.log_softmax(z, dim=-1),
    torch.sigmoid,
    F.logsigmoid,
)


MAX_HEADS = 8


class NoLinearLayer(ModelError):
    """No linear layer computes the model's output."""


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
    if output.ndim > 2 and output.shape[2:].numel() == 1:  # a map of one pixel
        output = output.flatten(1)
    if output.ndim > 2:
        raise ModelError(
            f"the model's output has shape {tuple(output.shape)}; expected (n, outputs), "
            "one row a sample"
        )
    return output


@dataclass(frozen=True)
class Hints:
    """What helps to find the layer.

    Attributes
    ----------
    mask : Tensor of shape (n, T), optional
        Which tokens of each sample are no padding.
    scale : float, optional
        What the outputs of the layer were multiplied by in an earlier batch.
    """

    mask: torch.Tensor | None = None
    scale: float | None = None


def find_last_call(
    calls: Sequence[LinearCall], logits: torch.Tensor, hints: Hints | None = None
) -> LinearCall:
    """Return the last call whose output is the model's output, or becomes it by a simple step.

    That is an activation; a choice of one token, or the mean over tokens or pixels; a
    multiplication by a number (a temperature); or the mean or the sum of several heads.

    Parameters
    ----------
    calls : sequence of LinearCall
    logits : Tensor of shape (n, K)
    hints : Hints, optional

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
    hints = hints or Hints()
    of_size = [call for call in calls if call.output.shape[-1] == logits.shape[1]]
    fitting = [call for call in (by_sample(c, len(logits)) for c in of_size) if call is not None]
    for step in (unchanged, averaged, scaled):
        for call in reversed(fitting):
            found = step(call, logits, hints)
            if found is not None:
                return found
    found = added([call for call in fitting if call.output.ndim == 2], logits)
    if found is not None:
        return found
    if not calls:
        raise NoLinearLayer(
            "no linear layer ran in the model; give a callable that returns (logits, embedding)"
        )
    last = calls[-1]
    remedy = "choose one by layer=, "
    if "lora_" in last.name:  # of PEFT, on the last layer itself
        remedy = "merge the adapters first (merge_and_unload), "
    raise NoLinearLayer(
        f"the model's output {tuple(logits.shape)} is not the output of a linear layer, nor its "
        f"softmax or sigmoid; the last linear layer that ran is {last.name!r} with output "
        f"{tuple(last.output.shape)}: {remedy}or give a callable that returns (logits, embedding)"
    )


def by_sample(call: LinearCall, n_samples: int) -> LinearCall | None:
    """Return a call with one row, or one matrix of tokens, a sample; None where it has other."""
    if call.output.ndim == 2 and n_samples < len(call.output):  # the tokens of all samples in a row
        call = call.split(n_samples)
    fits = call.output.ndim in (2, 3) and call.output.shape[0] == n_samples
    return call if fits else None


def unchanged(call: LinearCall, logits: torch.Tensor, hints: Hints) -> LinearCall | None:
    """Return the call where the model returned its output, or an activation of it."""
    if call.output.ndim == 3:
        token = pick_token(call.output, logits)
        return None if token is None else call.at(token)
    return call if is_activated(call.output, logits) else None


def averaged(call: LinearCall, logits: torch.Tensor, hints: Hints) -> LinearCall | None:
    """Return the mean over the tokens of a call, where that is the model's output."""
    if call.output.ndim != 3:
        return None
    size = float(call.output.abs().max())
    masks: list[torch.Tensor | None] = [None]
    if hints.mask is not None and hints.mask.shape == call.output.shape[:2]:
        masks.append(hints.mask)
    for mask in masks:
        mean = call.averaged(mask)
        if is_activated(mean.output, logits, size):
            return mean
    return None


def scaled(call: LinearCall, logits: torch.Tensor, hints: Hints) -> LinearCall | None:
    """Return a call times a number, where that is the model's output.

    One sample has no such number of its own: a norm of the sample would be one too.
    """
    if call.output.ndim != 2:
        return None
    scales = [] if hints.scale is None else [hints.scale]
    if len(logits) > 1:
        z, y = call.output.cpu().double(), logits.cpu().double()  # some devices have no float64
        scales.append(float((z * y).sum() / (z * z).sum()))
    for scale in scales:
        if 0 < scale < float("inf") and same_rows(call.output * scale, logits).all():
            return call.times(scale)
    return None


def added(calls: Sequence[LinearCall], logits: torch.Tensor) -> LinearCall | None:
    """Return the last heads whose mean or sum is the model's output, as one call."""
    for n_heads in range(2, min(len(calls), MAX_HEADS) + 1):
        heads = calls[-n_heads:]
        size = max(float(head.output.abs().max()) for head in heads)
        total = LinearCall.total(heads)
        for call in (total.times(1 / n_heads), total):
            if is_activated(call.output, logits, size):
                return replace(call, scale=1.0)
    return None


def is_activated(output: torch.Tensor, logits: torch.Tensor, size: float = 0.0) -> bool:
    """Return whether logits are the output, or its softmax or sigmoid; for size see `same_rows`."""
    return any(bool(same_rows(apply(output), logits, size).all()) for apply in ACTIVATIONS)


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


def same_rows(left: torch.Tensor, right: torch.Tensor, size: float = 0.0) -> torch.Tensor:
    """Return which rows are equal to a few roundings of their type; NaN equals NaN.

    ``size`` is that of the numbers that were added up to them, where that is larger.
    """
    if left.dtype == right.dtype and left.shape == right.shape and torch.equal(left, right):
        return torch.ones(left.shape[:-1], dtype=torch.bool, device=left.device)
    tolerance = 8 * torch.finfo(right.dtype).eps
    finite = torch.nan_to_num(right.float(), posinf=0.0, neginf=0.0)
    scale = max(finite.abs().amax().item(), size if math.isfinite(size) else 0.0)
    return torch.isclose(
        left.float(), right.float(), rtol=tolerance, atol=tolerance * scale, equal_nan=True
    ).all(dim=-1)
