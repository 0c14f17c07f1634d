"""Selection from a pool in parts, which are selected from one by one or side by side.

The two rounds of GreeDi. The pool is split into parts at random. The first picks of each part are
its selection; the same greedy selection over all of these gives the ranking, unless the picks of
one part alone are worth more. All parts condition on the same labeled data and use the same
references, drawn from the whole pool, so that a gain means the same everywhere.

What is known of the outcome against the best selection of k: for log det, monotone and submodular,
``(1 − 1/e) / 2`` in expectation over the split [2], [3]; for k-center, four times the smallest
radius [4]; for `margin`, `entropy` and `least_confidence` it is the ranking of the whole pool. The
A-optimal gain of `auto`, `aopt` and `bait` is only weakly submodular: what is proved for such
objectives [5] depends on the data, and no constant is claimed. `sampler/docs/strategies.md` has
what was measured.

References
----------
[1] Mirzasoleiman, Karbasi, Sarkar and Krause, "Distributed Submodular Maximization: Identifying
    Representative Elements in Massive Data", NIPS 2013; JMLR 2016.
[2] Barbosa, Ene, Nguyen and Ward, "The Power of Randomization: Distributed Submodular Maximization
    on Massive Datasets", ICML 2015.
[3] Mirrokni and Zadimoghaddam, "Randomized Composable Core-sets for Distributed Submodular
    Maximization", STOC 2015.
[4] Malkomes, Kusner, Chen, Weinberger and Moseley, "Fast Distributed k-Center Clustering with
    Outliers on Massive Data", NIPS 2015.
[5] Khanna, Elenberg, Dimakis, Negahban and Ghosh, "Scalable Greedy Feature Selection via Weak
    Submodularity", AISTATS 2017.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from .errors import ParameterError
from .inputs.pool import OutputPool, Pool
from .inputs.samples import Samples
from .models import ModelOutput
from .partitioning import CPU, Partitioning, check_partitioned
from .ranking import Ranking
from .reasons import explain
from .sampler import ActiveSampler
from .strategies import PoolSummary, Selection

__all__ = [
    "PartSelection",
    "Partitioning",
    "PoolSummary",
    "check_partitioned",
    "decide",
    "rank_partitioned",
    "select_part",
]

# The picks of one part have to be worth more by this factor: values are sums of rounded gains.
CLEARLY_MORE = 1 + 1e-6


@dataclass(frozen=True)
class PartSelection:
    """The selection of one part, in its order.

    Attributes
    ----------
    indices : ndarray of int64 of shape (m,)
        Positions within the part.
    scores : ndarray of float64 of shape (m,)
        Acquisition value of each, as in `Ranking`.
    output : ModelOutput
        Of the m candidates, on the CPU.
    """

    indices: np.ndarray
    scores: np.ndarray
    output: ModelOutput


def select_part(
    sampler: ActiveSampler,
    samples: Any,
    summary: PoolSummary,
    n: int,
    rows: np.ndarray | None = None,
) -> PartSelection:
    """Return the best candidates of a part: n, or more where more are picked greedily.

    All arguments and the result can be pickled, where the model can. A worker holds what the
    ranking of its part alone holds, with at most 10,000 references: with a linear head over an
    array of m candidates up to ``4 m (d + 10,000)`` bytes in a pool of up to 10,000; of a larger
    one, m is its share of the sample of 6,000, or twice the number of picks, and there are 6,000
    references.

    Parameters
    ----------
    sampler : ActiveSampler
    samples : tensor, array, list or Dataset
        The part's m candidates, in the order of the part's positions.
    summary : PoolSummary
    n : int
        Of the partitioning.
    rows : ndarray of int64 of shape (m,), optional
        The part: positions of the candidates in the whole pool, also their numbers in messages.
        Without them the part does not know which of its candidates are references, and of a large
        pool the selection is worse.

    Returns
    -------
    PartSelection
        The first ``max(n, budget, 200)`` candidates of the part, or all of them.

    Raises
    ------
    ParameterError
        When the strategy has no partitioned form.
    DataError
    """
    check_partitioned(sampler)
    problem = sampler.problem
    summary = summary.to(problem.device)
    pool = problem.open_pool(samples, rows, summary.center)
    context = problem.context(pool, len(pool), summary)
    context = replace(context, n=min(max(n, context.n_greedy), len(pool)), positions=rows)
    found = problem.strategy.rank_pool(context)
    return PartSelection(found.indices, found.scores, pool.take(found.indices).to(CPU))


def decide(
    sampler: ActiveSampler, partitioning: Partitioning, selections: Sequence[PartSelection]
) -> Ranking:
    """Return the ranking among the selections of all parts.

    Holds the selections, P max(n, budget, 200) candidates of d + K numbers, and what the ranking of
    a pool of that size holds: above 10,000 only a sample enters the greedy selection.

    Parameters
    ----------
    sampler : ActiveSampler
    partitioning : Partitioning
    selections : sequence of PartSelection
        In the order of the parts.

    Returns
    -------
    Ranking
        Of ``partitioning.n`` candidates, by their positions in the whole pool. For n up to
        ``max(budget, 200)`` its first are the same for every n.

    Raises
    ------
    ParameterError
        When the numbers of selections and of parts differ.
    """
    if len(selections) != len(partitioning.parts):
        raise ParameterError(
            f"there are {len(selections)} selections of {len(partitioning.parts)} parts; "
            "give one for each part, in their order"
        )
    found = [
        part[selection.indices]
        for part, selection in zip(partitioning.parts, selections, strict=True)
    ]
    union, at = np.unique(np.concatenate(found), return_index=True)
    output = ModelOutput.cat(selection.output for selection in selections)[torch.from_numpy(at)]
    problem = sampler.problem
    center = partitioning.summary.to(problem.device).center
    pool = OutputPool(output.to(problem.device), center=center)
    orders = [
        Selection(np.searchsorted(union, rows), selection.scores)
        for rows, selection in zip(found, selections, strict=True)
    ]
    # Of a single part, which is the whole pool, the selection is final.
    best = orders[0] if len(orders) == 1 else _best(sampler, partitioning, pool, union, orders)
    indices = best.indices[: partitioning.n]
    reasons = explain(pool, indices, problem.problem_type, problem.labeled_beside(pool))
    return Ranking(union[indices], best.scores[: partitioning.n], *reasons)


def rank_partitioned(
    sampler: ActiveSampler,
    X: Any,
    n: int | None = None,
    *,
    partitions: int,
    map: Callable[..., Iterable[PartSelection]] = map,
) -> Ranking:
    """Return the ranking of a pool in parts: both rounds, on candidates that this process can read.

    Parameters
    ----------
    sampler : ActiveSampler
    X : tensor, array, list or Dataset
        N candidates.
    n : int, optional
        How many to order; all when omitted, which takes the memory of the whole pool.
    partitions : int
        Number of parts; of a smaller pool it is the number of its candidates.
    map : callable
        As the builtin one; that of an executor runs parts side by side. The function that it calls
        and the arguments can be pickled, where model and samples can; a pickled part carries its
        own samples only. The ranking does not depend on it.

    Returns
    -------
    Ranking
        As `ActiveSampler.rank` returns it, and the same for one partition.

    Raises
    ------
    ParameterError
        When the strategy has no partitioned form.
    DataError, BudgetError

    Examples
    --------
    >>> with ThreadPoolExecutor(4) as executor:
    ...     ranking = rank_partitioned(sampler, candidates, 100, partitions=8, map=executor.map)
    """
    samples = Samples(X)
    plan = Partitioning.draw(sampler, samples.choose, len(samples), n, partitions)
    work = partial(_select_from_portion, sampler, plan.summary, plan.n)
    portions = [_Portion(samples, part) for part in plan.parts]
    return decide(sampler, plan, list(map(work, portions, plan.parts)))


def _select_from_portion(
    sampler: ActiveSampler, summary: PoolSummary, n: int, portion: _Portion, part: np.ndarray
) -> PartSelection:
    return select_part(sampler, portion.read(), summary, n, part)


def _best(
    sampler: ActiveSampler,
    partitioning: Partitioning,
    pool: Pool,
    union: np.ndarray,
    orders: Sequence[Selection],
) -> Selection:
    """Return the picks among all selections, or those that begin with a better part's.

    Values are compared at the budget, so that the choice does not depend on n.
    """
    problem = sampler.problem
    # The selections are a pool of their own now, with a sample only when they are many.
    summary = replace(partitioning.summary.to(pool.device), size=len(pool))
    context = problem.context(pool, len(pool), partitioning.summary)
    n = min(max(partitioning.n, context.n_greedy), len(pool))
    context = replace(context, n=n, summary=summary, positions=union)
    found = problem.strategy.rank_pool(context)
    if not problem.strategy.additive_gains or pool.outputs().costs is not None:
        return found  # gains per cost are no sum
    values = [order.scores[: context.budget].sum() for order in orders]
    best = int(np.argmax(values))
    if values[best] <= CLEARLY_MORE * found.scores[: context.budget].sum():
        return found
    head = tuple(orders[best].indices[: context.budget].tolist())
    return problem.strategy.rank_pool(replace(context, preselected=head))


class _Portion:
    """A part's samples, read where they are needed; a pickled one carries its own rows only."""

    def __init__(self, samples: Samples, rows: np.ndarray | None) -> None:
        self._samples, self._rows = samples, rows

    def read(self) -> Any:
        return self._samples.samples if self._rows is None else self._samples.choose(self._rows)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Portion, (Samples(self.read()), None)
