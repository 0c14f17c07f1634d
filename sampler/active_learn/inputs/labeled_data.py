"""Labeled samples with what is known of their labels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch

from ..errors import DataError, ParameterError
from ..models import ModelOutput
from ..models.tensors import as_tensor
from ..validation import Problem, types_of

__all__ = ["LabeledData"]


@dataclass(frozen=True)
class LabeledData:
    """Labeled samples with their labels, and how noisy each label is.

    Attributes
    ----------
    samples : tensor, array, list, Dataset or ModelOutput
        n of them, as ``labeled_data`` of `ActiveSampler`.
    targets : array of shape (n,) or (n, K), optional
        In regression: the labels, NaN where one is not known. The noise of labels is estimated from
        them.
    noise : array of shape (n,), optional
        The variance of each label's noise, in units of an ordinary label's: 1 for a label like any
        other, more where annotators disagree, less where several agree. All 1 when omitted. Only
        the variance that labels leave depends on it (`auto` from A-optimal design on, `aopt`,
        `bait`, `logdet`, `vessal`); a stream counts all labels alike.
    """

    samples: Any
    targets: Any = None
    noise: Any = None

    def describe(self, output: ModelOutput, problem_type: Problem) -> ModelOutput:
        """Return the model's outputs of the samples with their labels.

        Raises
        ------
        ParameterError
            When there are targets, and not all outputs are numbers.
        DataError
            When a shape or a value does not fit.
        """
        targets, noise = None, None
        if self.targets is not None:
            if set(types_of(problem_type)) != {"regression"}:
                raise ParameterError(
                    "targets are used in regression only; leave them out of LabeledData"
                )
            targets = as_tensor(self.targets, "targets of labeled data").to(output.logits)
            targets = targets[:, None] if targets.ndim == 1 else targets
            if targets.shape != output.logits.shape:
                raise DataError(
                    f"targets of labeled data have shape {tuple(targets.shape)}; expected "
                    f"{tuple(output.logits.shape)}, a number for each sample and output"
                )
            if torch.isinf(targets).any():
                raise DataError("targets of labeled data hold infinity; check the labels")
        if self.noise is not None:
            noise = as_tensor(self.noise, "noise of labeled data").to(output.logits)
            if noise.shape != (len(output),):
                raise DataError(
                    f"noise of labeled data has shape {tuple(noise.shape)}; expected "
                    f"({len(output)},), a number for each sample"
                )
            if not (torch.isfinite(noise).all() and (noise > 0).all()):
                raise DataError(
                    "noise of labeled data holds a number that is not above 0 and finite; it is a "
                    "variance, 1 for an ordinary label"
                )
        return replace(output, targets=targets, noise=noise)
