"""The default: representatives before the first label, A-optimal design from then on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..clustering import kmeans_medoids
from .aopt import AOpt
from .base import Context, Picks, register
from .greedy import greedy_design

__all__ = ["Auto"]


@register
@dataclass(frozen=True)
class Auto(AOpt):
    """`medoids` for one batch of k = the budget without labels, `aopt` with any labeled data.

    The tail behind the first batch is ordered by A-optimal design conditioned on that batch.
    Not nested, as the first batch depends on k; with labels it is. Takes the parameters of `aopt`.
    """

    name: ClassVar[str] = "auto"
    nested: ClassVar[bool] = False

    def rank_pool(self, context: Context) -> Picks:
        """Hand over to the strategy that fits what is labeled."""
        if context.has_labels:
            return super().rank_pool(context)
        medoids = kmeans_medoids(context.embeddings()[0], context.budget, context.rng)
        return greedy_design(
            context,
            self.kernel(context.problem_type),
            self.ridge,
            self.reference_count(len(context.pool)),
            first=medoids,
        )
