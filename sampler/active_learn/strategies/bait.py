"""BAIT: A-optimal design on the Fisher information of the last layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..posterior.fisher import Side
from ..posterior.kernels import FisherKernel
from ..selectors.stream_scorers import DesignScorer, Scorer
from ..validation import Problem
from .base import Context, PoolSummary, Selection, Strategy, register
from .two_stage import draw_references, greedy_design, is_large

__all__ = ["Bait"]

REFERENCES = 3_000  # of a pool that is not large


@register
@dataclass(frozen=True)
class Bait(Strategy):
    """Greedy forward selection of the trace objective ``tr(M_S F)``, in Gram form.

    F is the Fisher information of ``references`` points that represent the pool. Embeddings are
    divided by their root mean square norm, so that λ means the same whatever their unit. Conditions
    on labeled data; the pool's covariance is known either way, through the references. BAIT's
    backward pruning is left out: it cannot be nested.

    Parameters
    ----------
    ridge : float
        λ.
    references : int, optional
        Points that represent the pool; when omitted 3,000 of a pool of up to 10,000, of a larger
        one the sample that enters the greedy selection.
    side : {'gradient', 'fisher'}
        The output factor: ``e_ŷ − p``, or with the probability of the answer, ``√p_y (e_y − p)``
        (as published).
    rank : int
        Factors per sample; more than 1 with ``side='fisher'`` only.
    beta : float
        How sharply a stream separates high scores from low ones; no effect on a pool.

    References
    ----------
    Ash et al., "Gone Fishing: Neural Active Learning with Fisher Embeddings", NeurIPS 2021,
    algorithm 1.
    """

    name: ClassVar[str] = "bait"
    partitioned: ClassVar[bool] = True
    additive_gains: ClassVar[bool] = True
    ridge: float = 0.1
    references: int | None = None
    side: Side = "gradient"
    rank: int = 1
    beta: float = 8.0

    def rank_pool(self, context: Context) -> Selection:
        """Return greedy picks, then the others by their remaining gain."""
        kernel = FisherKernel(context.problem_type, self.side, self.rank, context.scale())
        return greedy_design(context, kernel, self.ridge, self._reference_count(context))

    def summarize_pool(self, context: Context) -> PoolSummary:
        """Return the references and the scale of the embeddings."""
        scale = context.scale()
        references, sample = draw_references(context, self._reference_count(context))
        return PoolSummary(references, scale, len(context.pool), sample=sample)

    def scorer(self, problem_type: Problem, scale: float) -> Scorer:
        """Return a scorer by the gain over 1,000 past samples, to the power of β."""
        kernel = FisherKernel(problem_type, self.side, self.rank, scale)
        return DesignScorer(kernel, self.ridge, None, self.beta)

    def _reference_count(self, context: Context) -> int | None:
        if self.references is None and not is_large(context):
            return REFERENCES
        return self.references
