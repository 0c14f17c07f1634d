"""The noise of numbers as labels: λ by leave-one-out of kernel ridge regression on the labels."""

from __future__ import annotations

import torch

from ..models import ModelOutput
from .kernels import Kernel

__all__ = ["RIDGES", "choose_ridge", "leave_one_out"]

#: What λ is chosen from, the default first.
RIDGES = (0.1, 0.01, 0.001)
FEWEST_LABELS = 20
# So many labels tell three values of λ apart; the work grows with their cube.
MOST_LABELS = 1000


def choose_ridge(kernel: Kernel, labeled: ModelOutput | None) -> float:
    """Return the λ whose kernel ridge regression predicts labels that were left out the best.

    Of several outputs each counts in units of its variance. Without 20 labels of an output that
    differ, λ is the first of `RIDGES`.
    """
    if labeled is None or labeled.targets is None:
        return RIDGES[0]
    errors = labeled.targets.new_zeros(len(RIDGES), dtype=torch.float64)
    for column in labeled.targets.double().T:
        rows = torch.isfinite(column).nonzero()[:, 0]
        if len(rows) > MOST_LABELS:
            rows = rows[torch.linspace(0, len(rows) - 1, MOST_LABELS).long()]
        targets = column[rows]
        if len(rows) < FEWEST_LABELS or not targets.var() > 0:
            continue
        points = kernel.points(labeled[rows]).double()
        noise = torch.ones_like(targets) if points.noise is None else points.noise
        gram = kernel.gram(points, points)
        errors += torch.stack([leave_one_out(gram, targets, one * noise) for one in RIDGES])
    return RIDGES[int(errors.argmin())]


def leave_one_out(gram: torch.Tensor, targets: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Return the mean squared leave-one-out error, in units of the variance of the targets.

    Of kernel ridge regression with an intercept, in closed form. The errors are weighted by the
    inverse of the noise.

    Parameters
    ----------
    gram : Tensor of shape (n, n), float64
    targets : Tensor of shape (n,), float64
    noise : Tensor of shape (n,), float64
        Variance of each label's noise, in units of the kernel.
    """
    inverse = torch.linalg.inv(gram + torch.diag(noise))
    ones = inverse.sum(dim=1)
    projected = inverse - torch.outer(ones, ones) / ones.sum()
    errors = (projected @ targets) / projected.diagonal()
    weights = 1 / noise
    return (weights * errors.square()).sum() / (weights.sum() * targets.var())
