"""The default: representatives before the first label, A-optimal design from then on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .aopt import AOpt, greedy_design
from .base import Context, Picks, register
from .medoids import kmeans_medoids

__all__ = ["Auto"]


@register
@dataclass(frozen=True)
class Auto(AOpt):
    """`medoids` for one batch of k = the budget without labels, `aopt` with any labeled data.

    The tail behind the first batch is ordered by A-optimal design conditioned on that batch.
    Not nested across budgets before the first label (the clusters depend on k); for one budget,
    and with labels, it is. Takes the parameters of `aopt`.
    """

    name: ClassVar[str] = "auto"

    def rank(self, context: Context) -> Picks:
        """Hand over to the strategy that fits what is labeled."""
        if context.has_labels:
            return super().rank(context)
        medoids = kmeans_medoids(context.pool.outputs().embedding, context.budget, context.rng)
        return greedy_design(context, self.kernel(context), self.ridge, self.references, medoids)
