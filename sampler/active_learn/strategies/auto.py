"""The default: representatives before the first label, A-optimal design from then on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..selectors.kmeans import kmeans_medoids
from .aopt import AOpt
from .base import Context, Selection, register
from .greedy import greedy_design, sample_rows

__all__ = ["Auto"]

# Candidates among which the medoids of a partitioned pool are chosen.
START_ROWS = 10_000


@register
@dataclass(frozen=True)
class Auto(AOpt):
    """`medoids` for one batch of k = the budget without labels, `aopt` with any labeled data.

    The tail behind the first batch is ordered by A-optimal design conditioned on that batch.
    Not nested, as the first batch depends on k; with labels it is. Takes the parameters of `aopt`.
    """

    name: ClassVar[str] = "auto"
    nested: ClassVar[bool] = False

    def rank_pool(self, context: Context) -> Selection:
        """Return the medoids before the first label, the A-optimal picks after it."""
        if context.has_labels or context.summary is not None:
            return super().rank_pool(context)
        medoids = kmeans_medoids(context.embeddings()[0], context.budget, context.rng)
        return greedy_design(
            context,
            self.kernel(context.problem_type),
            self.ridge,
            self.reference_count(len(context.pool)),
            preselected=medoids,
        )

    def start(self, context: Context) -> list[int]:
        """Return the medoids of a pool, of a large one among 10,000 drawn from it."""
        if context.has_labels:
            return []
        pool = context.pool
        rows = sample_rows(len(pool), max(START_ROWS, context.budget), context.rng)
        embeddings = pool.take(rows).embedding / pool.scale()
        return rows[np.asarray(kmeans_medoids(embeddings, context.budget, context.rng))].tolist()
