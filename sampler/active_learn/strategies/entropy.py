"""Entropy sampling: the most spread out prediction first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..posterior.fisher import probabilities
from ..validation import ProblemType
from .base import register
from .pointwise import Pointwise

__all__ = ["Entropy"]


@register
@dataclass(frozen=True)
class Entropy(Pointwise):
    """``−Σ p log p`` in nats; in multilabel the sum of the labels' binary entropies.

    Labeled data and the pool's covariance change nothing. Not for regression.

    References
    ----------
    Settles, "Active Learning Literature Survey", 2009, section 3.1.
    """

    name: ClassVar[str] = "entropy"

    def score(self, logits: torch.Tensor, problem_type: ProblemType) -> torch.Tensor:
        """Return the entropy of each sample."""
        p = probabilities(logits, problem_type)
        entropy = torch.special.entr(p).sum(dim=1)
        return (
            entropy + torch.special.entr(1 - p).sum(dim=1)
            if problem_type == "multilabel"
            else entropy
        )
