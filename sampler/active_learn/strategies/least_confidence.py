"""Least confidence: the least likely best answer first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..posterior.fisher import probabilities
from ..validation import ProblemType
from .base import register
from .pointwise import Pointwise

__all__ = ["LeastConfidence"]


@register
@dataclass(frozen=True)
class LeastConfidence(Pointwise):
    """``1 − p₁``; in multilabel the largest such value among the labels.

    Labeled data and the pool's covariance change nothing. Not for regression.

    References
    ----------
    Lewis and Gale, "A Sequential Algorithm for Training Text Classifiers", SIGIR 1994.
    """

    name: ClassVar[str] = "least_confidence"

    def score(self, logits: torch.Tensor, problem_type: ProblemType) -> torch.Tensor:
        """Return one minus the probability of each sample's likeliest answer."""
        p = probabilities(logits, problem_type)
        if problem_type == "multilabel":
            return (1 - torch.maximum(p, 1 - p)).amax(dim=1)
        return 1 - p.amax(dim=1)
