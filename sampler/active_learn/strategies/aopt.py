"""Weighted A-optimal design on a kernel: lower the doubt over the whole pool the most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from ..design import AOptimalDesign
from ..fisher import uncertainty
from ..gram import Posterior
from ..kernels import FisherKernel, Kernel, RadialKernel
from ..models import ModelOutput
from .base import Context, Picks, Strategy, register

__all__ = ["AOpt", "greedy_design", "reference_rows"]

SHORTLIST = 10_000
SHORTLIST_ABOVE = 20_000
STAGE_ONE_REFERENCES = 256


def reference_rows(size: int, limit: int, rng: np.random.Generator) -> np.ndarray:
    """Give the rows of the points that stand for the pool: all of them, or a uniform sample."""
    if size <= limit:
        return np.arange(size)
    return np.sort(rng.choice(size, size=limit, replace=False))


@register
@dataclass(frozen=True)
class AOpt(Strategy):
    """Greedy A-optimal design with a radial kernel, references weighted by the model's doubt.

    Each pick lowers ``Σ_r w_r² Var(r)`` the most, over ``references`` points r of the pool with
    weight ``w_r`` = one minus the margin (1 before any label and in regression). It is A-optimal
    design for a Gaussian-process model of the embeddings; with ``kernel='linear'`` (the default
    in regression) it is the Fisher one. Pools of more than 20,000 are scored once against 256
    references in streamed blocks, and the best 10,000 enter the greedy selection.

    Conditions on labeled data; the pool's covariance is known either way, through the references.

    Parameters
    ----------
    gamma : float
        Inverse width of the radial kernel.
    ridge : float
        λ: the noise of a label, in units of the kernel.
    references : int
        Points that stand for the pool.

    References
    ----------
    Ash et al., "Gone Fishing: Neural Active Learning with Fisher Embeddings", NeurIPS 2021.
    Seo et al., "Gaussian Process Regression: Active Data Selection and Test Point Rejection",
    2000 (the A-optimal criterion of Cohn).
    """

    name: ClassVar[str] = "aopt"
    gamma: float = 4.0
    ridge: float = 0.1
    references: int = 3000

    def rank(self, context: Context) -> Picks:
        """Pick greedily, then order the rest by what is left of their gain."""
        return greedy_design(context, self.kernel(context), self.ridge, self.references, [])

    def kernel(self, context: Context) -> Kernel:
        """Give the kernel for a problem: radial, or linear in regression."""
        if context.problem_type == "regression":
            return FisherKernel("regression", scale=context.pool.scale())
        return RadialKernel(self.gamma)


def reference_weights(context: Context, output: ModelOutput) -> torch.Tensor:
    """Give one minus the margin of each reference; 1 before any label, when it means nothing."""
    if not context.has_labels:
        return torch.ones_like(output.logits[:, 0])
    return uncertainty(output.logits, context.problem_type)


def greedy_design(
    context: Context, kernel: Kernel, ridge: float, references: int, first: list[int]
) -> Picks:
    """Run the design on a pool, after conditioning on the candidates in ``first``."""
    pool = context.pool
    seed = None if context.seed is None else kernel.points(context.seed)
    posterior = Posterior(kernel, ridge, seed, context.max_conditioned)
    rows = reference_rows(len(pool), references, context.rng)
    output = pool.take(rows)
    weights = reference_weights(context, output)
    candidates = kernel.points(pool.outputs() if len(rows) < len(pool) else output)
    design = AOptimalDesign(posterior, candidates, kernel.points(output), weights)
    more = min(context.depth, context.n) - len(first)
    picked, gains = design.pick(max(0, more), first)
    return Picks.completed(picked, gains, design.scores(), context.n)
