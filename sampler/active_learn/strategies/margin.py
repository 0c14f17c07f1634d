"""Margin sampling: the smallest gap between the two likeliest classes first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..posterior.fisher import uncertainty
from ..validation import ProblemType
from .base import register
from .pointwise import Pointwise

__all__ = ["Margin"]


@register
@dataclass(frozen=True)
class Margin(Pointwise):
    """``1 − (p₁ − p₂)``; in multilabel the mean of ``1 − |2p − 1|`` over the labels.

    Labeled data and the pool's covariance change nothing. Not for regression.

    References
    ----------
    Scheffer, Decomain and Wrobel, "Active Hidden Markov Models for Information Extraction",
    IDA 2001.
    """

    name: ClassVar[str] = "margin"
    takes_parts: ClassVar[bool] = True

    def score(self, logits: torch.Tensor, problem_type: ProblemType) -> torch.Tensor:
        """Return one minus the margin of each sample."""
        return uncertainty(logits, problem_type)
