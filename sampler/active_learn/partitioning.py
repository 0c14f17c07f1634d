"""How a pool is split into parts, and what the parts have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from .sampler import ActiveSampler
from .strategies import PoolSummary
from .validation import check_count, check_ranked

__all__ = ["CPU", "Partitioning", "check_partitioned"]

CPU = torch.device("cpu")  # where everything is that crosses processes


@dataclass(frozen=True)
class Partitioning:
    """How a pool is split, and what all its parts have in common.

    Attributes
    ----------
    parts : tuple of ndarray of int64
        Of each part the positions of its candidates in the whole pool, ascending. Each candidate is
        in one part.
    summary : PoolSummary
    n : int
        Candidates to order.
    """

    parts: tuple[np.ndarray, ...]
    summary: PoolSummary
    n: int

    @classmethod
    def draw(
        cls,
        sampler: ActiveSampler,
        read: Callable[[np.ndarray], Any],
        size: int,
        n: int | None,
        partitions: int,
    ) -> Partitioning:
        """Split a pool at random into equal parts, and draw its summary.

        Depends on the sampler's seed, ``size`` and ``partitions`` alone. Holds the embeddings of
        the references (at most 10,000 by default).

        Parameters
        ----------
        sampler : ActiveSampler
        read : callable
            Returns the samples at some positions (ndarray of int64, ascending), of the kind that
            the sampler's model takes. Called only for the samples that are drawn.
        size : int
            Candidates of the pool, N.
        n : int or None
            Candidates to order; all when None, and the last round then holds the whole pool.
        partitions : int
            Number of parts; of a smaller pool it is the number of its candidates.

        Raises
        ------
        ParameterError
            When the strategy has no partitioned form, or ``partitions`` is no whole number >= 1.
        BudgetError
            When ``n`` is more than the pool has.
        DataError
            When the pool is empty, or what is drawn holds NaN or infinity.
        """
        check_partitioned(sampler)
        check_count("partitions", partitions)
        problem = sampler.problem
        pool = problem.open_lazy_pool(read, size)
        wanted = check_ranked(n, size)
        context = problem.context(pool, wanted)
        summary = problem.strategy.summarize_pool(context)
        summary = replace(summary, center=pool.center).to(CPU)
        # Random numbers of its own: the references are those of the ranking of the whole pool.
        rng = np.random.default_rng(np.random.SeedSequence(problem.seed, spawn_key=(1,)))
        drawn = np.array_split(rng.permutation(size), min(partitions, size))
        return cls(tuple(np.sort(part) for part in drawn), summary, wanted)


def check_partitioned(sampler: ActiveSampler) -> None:
    """Raise ParameterError when the sampler's strategy has no form for a partitioned pool."""
    sampler.problem.strategy.check_partitioned()
