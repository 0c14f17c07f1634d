"""The loss that is trained on, with weights of the classes where they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

__all__ = ["class_weights", "loss_function"]

HEAVIEST = 10.0  # a class with one label among thousands must not decide alone


def class_weights(problem_type: str, targets: torch.Tensor, n_outputs: int) -> torch.Tensor:
    """Return weights by which each class counts as much as any other, at most ten times its share.

    Returns
    -------
    Tensor of shape (n_outputs,)
        In multilabel problems those of the tasks that have the label, against those that do not.
    """
    if problem_type == "multilabel":
        have = targets.sum(dim=0)
        return ((len(targets) - have) / have.clamp(min=1)).clamp(1 / HEAVIEST, HEAVIEST)
    counts = torch.bincount(targets, minlength=n_outputs).float()
    seen = int((counts > 0).sum())
    return (len(targets) / (seen * counts.clamp(min=1))).clamp(1 / HEAVIEST, HEAVIEST)


def loss_function(
    problem_type: str, targets: torch.Tensor, n_outputs: int, *, balanced: bool
) -> Callable[..., torch.Tensor]:
    """Return the loss of a batch, as the Trainer calls it: outputs of the model, and labels.

    Cross-entropy, its binary kind for each label, or the squared error in units of the variance of
    the training labels.
    """
    if problem_type == "regression":
        variance = float(targets.var().clamp(min=1e-12))
        return lambda outputs, labels, **_: F.mse_loss(outputs.logits, labels) / variance
    weights = class_weights(problem_type, targets, n_outputs) if balanced else None

    def loss(outputs: Any, labels: torch.Tensor, **_: Any) -> torch.Tensor:
        scale = None if weights is None else weights.to(outputs.logits)
        if problem_type == "multilabel":
            return F.binary_cross_entropy_with_logits(outputs.logits, labels, pos_weight=scale)
        return F.cross_entropy(outputs.logits, labels, scale)

    return loss
