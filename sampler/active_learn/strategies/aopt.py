"""Weighted A-optimal design on a kernel: lower the uncertainty over the whole pool the most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..posterior.kernels import Kernel, RadialKernel
from ..posterior.label_noise import RIDGES, choose_ridge
from ..selectors.stream_scorers import DesignScorer, Scorer
from ..validation import Problem, types_of
from .base import Context, PoolSummary, Selection, Strategy, register
from .two_stage import draw_references, greedy_design

__all__ = ["AOpt"]


@register
@dataclass(frozen=True)
class AOpt(Strategy):
    """Greedy A-optimal design with a radial kernel, references weighted by the model's uncertainty.

    Each pick lowers ``Σ_r w_r² Var(r)`` the most, over ``references`` points r of the pool with
    weight ``w_r`` = one minus the margin (1 before any label and in regression). It is A-optimal
    design for a Gaussian-process model of the embeddings; `bait` is its Fisher sibling. Of pools
    of more than 10,000 a uniform sample of 6,000 enters the greedy selection. Of tasks of parts,
    which cost more the more parts they have, the gain is divided by the root of the cost.

    Conditions on labeled data, on more than 1,000 samples through 500 landmarks (FITC); the pool's
    covariance is known either way, through the references.

    Parameters
    ----------
    gamma : float, optional
        Inverse width of the radial kernel; 4 when omitted, in regression 1, since numbers change
        more smoothly over the embeddings than classes, with tasks of parts 2.
    ridge : float, optional
        λ: the noise of a label, in units of the kernel. When omitted 0.1; in regression, once the
        labeled data says what the labels are (`LabeledData.targets`), that one of 0.1, 0.01 and
        0.001 with the least leave-one-out error of kernel ridge regression on them. A stream
        keeps 0.1.
    references : int, optional
        Points that represent the pool; when omitted the candidates that enter the greedy selection.
        Time and memory are in proportion to their number.
    beta : float
        How sharply a stream separates high scores from low ones; no effect on a pool.

    References
    ----------
    Ash et al., "Gone Fishing: Neural Active Learning with Fisher Embeddings", NeurIPS 2021.
    Seo et al., "Gaussian Process Regression: Active Data Selection and Test Point Rejection",
    2000 (the A-optimal criterion of Cohn).
    """

    name: ClassVar[str] = "aopt"
    partitioned: ClassVar[bool] = True
    additive_gains: ClassVar[bool] = True
    takes_parts: ClassVar[bool] = True
    gamma: float | None = None
    ridge: float | None = None
    references: int | None = None
    beta: float = 8.0

    def rank_pool(self, context: Context) -> Selection:
        """Return greedy picks, then the others by their remaining gain."""
        kernel = self.kernel(context.problem_type)
        return greedy_design(
            context,
            kernel,
            self.ridge or choose_ridge(kernel, context.labeled),
            self.references,
            weigh=True,
        )

    def summarize_pool(self, context: Context) -> PoolSummary:
        """Return the references."""
        references, sample = draw_references(context, self.references)
        return PoolSummary(references, 1.0, len(context.pool), sample=sample)

    def scorer(self, problem_type: Problem, scale: float) -> Scorer:
        """Return a scorer by the gain over 1,000 past samples, to the power of β."""
        return DesignScorer(
            self.kernel(problem_type), self.ridge or RIDGES[0], problem_type, self.beta
        )

    def kernel(self, problem_type: Problem) -> Kernel:
        """Return the kernel for a problem type."""
        if self.gamma is not None:
            return RadialKernel(self.gamma)
        # The linear kernel, the Fisher one of regression, chases outliers: on STS-B it ended
        # 38 points of R² below random, this one level with it.
        if problem_type == "tagging":
            return RadialKernel(2.0)
        return RadialKernel(1.0 if set(types_of(problem_type)) == {"regression"} else 4.0)
