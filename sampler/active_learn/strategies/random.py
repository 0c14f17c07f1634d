"""Random order: the baseline that every strategy has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..selectors.stream_scorers import LogitScorer, Scorer
from ..validation import Problem
from .base import Context, Selection, Strategy, register

__all__ = ["Random"]


@register
@dataclass(frozen=True)
class Random(Strategy):
    """A uniform random order. Labeled data and the pool's covariance change nothing."""

    name: ClassVar[str] = "random"
    takes_parts: ClassVar[bool] = True

    def rank_pool(self, context: Context) -> Selection:
        """Return candidates in the order of uniform numbers in [0, 1)."""
        return Selection.descending(
            torch.from_numpy(context.rng.random(len(context.pool))), context.n
        )

    def scorer(self, problem_type: Problem, scale: float) -> Scorer:
        """Return a scorer that gives all samples the same score."""
        return LogitScorer(lambda logits: torch.ones(len(logits)))
