"""Base of the strategies that score each sample on its own, from its logits alone."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch

from ..errors import ParameterError
from ..posterior.fisher import ProblemType
from ..selectors.stream_scorers import LogitScorer, Scorer
from .base import Context, Picks, Strategy

__all__ = ["Pointwise"]


@dataclass(frozen=True)
class Pointwise(Strategy):
    """Order by a score of the logits; one pass over the pool in row blocks.

    Parameters
    ----------
    beta : float
        How sharply a stream tells high scores from low ones; changes nothing on a pool.
    """

    partitioned: ClassVar[bool] = True
    beta: float = 8.0

    @abstractmethod
    def score(self, logits: torch.Tensor, problem_type: ProblemType) -> torch.Tensor:
        """Give the score of each sample, (n,), from its logits, (n, K); highest first."""

    def check(self, problem_type: ProblemType) -> None:
        """Refuse regression: a point prediction says nothing about its own error."""
        if problem_type == "regression":
            raise ParameterError(
                f"strategy {self.name!r} needs class probabilities, which regression does not "
                "have; use 'aopt', 'bait' or 'kcenter'"
            )

    def rank_pool(self, context: Context) -> Picks:
        """Order by descending score, ties by position in the pool."""
        scores = torch.empty(len(context.pool))
        for rows, output in context.pool.blocks():
            scores[rows] = self.score(output.logits, context.problem_type).cpu()
        return Picks.descending(scores, context.n)

    def scorer(self, problem_type: ProblemType, scale: float) -> Scorer:
        """Score a stream by the same numbers, to the power of β."""
        return LogitScorer(lambda logits: self.score(logits, problem_type), self.beta)
