"""Selection from a pool in parts: each part proposes, a last greedy selection decides.

The two rounds of GreeDi. The pool is dealt to parts at random; each part's first picks are its
proposal, and the same greedy selection over all proposals gives the ranking, unless the picks of
one part alone are worth more. All parts condition on the same labeled data and go by the same
references, drawn from the whole pool, so that a gain means the same everywhere.

What is known of the outcome against the best selection of k: for log det, monotone and submodular,
``(1 − 1/e) / 2`` in expectation over the deal [2], [3]; for k-center, four times the smallest
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
from .inputs.pool import Pool, UnreadPool
from .inputs.samples import Samples
from .models import ModelOutput
from .ranking import Ranking, explain
from .sampler import ActiveSampler
from .strategies import Anchors, Picks
from .validation import check_count, check_ranked

__all__ = [
    "Anchors",
    "Part",
    "Partitioning",
    "Proposal",
    "check_partitioned",
    "decide",
    "propose",
    "rank_partitioned",
]

# By how much the picks of one part have to be worth more: values are sums of rounded gains.
CLEARLY_MORE = 1 + 1e-6
CPU = torch.device("cpu")  # where all is that travels


@dataclass(frozen=True)
class Part:
    """One partition of a pool.

    Attributes
    ----------
    rows : ndarray of int64 of shape (m,)
        Positions in the whole pool, ascending.
    first : tuple of int
        Positions within ``rows`` of what is taken before all else: the representatives that
        `auto` starts from without labels, which are members of every part. Usually empty.
    """

    rows: np.ndarray
    first: tuple[int, ...] = ()


@dataclass(frozen=True)
class Proposal:
    """What a part puts forward, in its order.

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


@dataclass(frozen=True)
class Partitioning:
    """How a pool is dealt, and what all its parts go by.

    Attributes
    ----------
    parts : tuple of Part
        They cover the pool, and share nothing but what all take first.
    anchors : Anchors
    n : int
        Candidates to order.
    """

    parts: tuple[Part, ...]
    anchors: Anchors
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
        """Deal a pool at random, in equal parts, and draw what they go by.

        Depends on the sampler's seed, ``size`` and ``partitions`` alone. Holds the embeddings of
        the references (at most 10,000 by default), and those of 10,000 candidates where `auto`
        starts without labels.

        Parameters
        ----------
        sampler : ActiveSampler
        read : callable
            Gives the samples at some positions (ndarray of int64, ascending), of the kind that the
            sampler's model takes. Called for what is drawn only.
        size : int
            Candidates of the pool, N.
        n : int or None
            Candidates to order; all when None, which the last round then holds as a whole.
        partitions : int
            Parts; of a smaller pool as many as it has candidates.

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
        pool = UnreadPool(read, size, sampler._adapter, device=sampler._device)
        wanted = check_ranked(n, size)
        context = sampler._context(pool, wanted)
        first = np.asarray(sampler._strategy.start(context), dtype=np.int64)
        anchors = _on(sampler._strategy.anchors(context), CPU)
        # A stream of its own, so that references are drawn as the ranking of the whole draws them.
        deal = np.random.default_rng(np.random.SeedSequence(sampler._seed, spawn_key=(1,)))
        parts = []
        for dealt in np.array_split(deal.permutation(size), min(partitions, size)):
            rows = np.union1d(dealt, first).astype(np.int64)
            parts.append(Part(rows, tuple(np.searchsorted(rows, first).tolist())))
        return cls(tuple(parts), anchors, wanted)


def check_partitioned(sampler: ActiveSampler) -> None:
    """Raise ParameterError when the sampler's strategy has no form for a partitioned pool."""
    sampler._strategy.check_partitioned()


def propose(
    sampler: ActiveSampler,
    samples: Any,
    first: tuple[int, ...],
    anchors: Anchors,
    n: int,
    rows: np.ndarray | None = None,
) -> Proposal:
    """Let a part put its best forward: as many as are ordered, and no fewer than picked greedily.

    Everything that goes in and out can be pickled, where the model can. A worker holds what the
    ranking of its part alone holds, with at most 10,000 references: with a linear head over an
    array of m candidates up to ``4 m (d + 10,000)`` bytes in a pool of up to 20,000; of a larger
    one its share of the shortlist, or twice what is picked, counts for m, and there are 3,000
    references.

    Parameters
    ----------
    sampler : ActiveSampler
    samples : tensor, array, list or Dataset
        The part's m candidates, in the order of `Part.rows`.
    first : tuple of int
        Of the part.
    anchors : Anchors
    n : int
        Of the partitioning.
    rows : ndarray of int64 of shape (m,), optional
        Of the part: numbers of the candidates in messages.

    Returns
    -------
    Proposal
        The first ``max(n, budget, 200)`` of the part, or all it has.

    Raises
    ------
    ParameterError
        When the strategy has no partitioned form.
    DataError
    """
    check_partitioned(sampler)
    pool = sampler._pool(samples, rows)
    context = sampler._context(pool, len(pool), _on(anchors, pool.device), first)
    context = replace(context, n=min(max(n, context.depth), len(pool)))
    picks = sampler._strategy.rank_pool(context)
    return Proposal(picks.indices, picks.scores, _moved(pool.take(picks.indices), CPU))


def decide(
    sampler: ActiveSampler, partitioning: Partitioning, proposals: Sequence[Proposal]
) -> Ranking:
    """Choose among all proposals, which have to come in the order of the parts.

    Holds the proposals, P max(n, budget, 200) candidates of d + K numbers, and what the ranking of
    a pool of that size holds: two stages from 20,000 on.

    Parameters
    ----------
    sampler : ActiveSampler
    partitioning : Partitioning
    proposals : sequence of Proposal

    Returns
    -------
    Ranking
        Of ``partitioning.n`` candidates, by their positions in the whole pool. For n up to
        ``max(budget, 200)`` its first are the same for every n.

    Raises
    ------
    ParameterError
        When there is not one proposal a part.
    """
    if len(proposals) != len(partitioning.parts):
        raise ParameterError(
            f"there are {len(proposals)} proposals of {len(partitioning.parts)} parts; "
            "give one of each, in their order"
        )
    found = [
        part.rows[proposal.indices]
        for part, proposal in zip(partitioning.parts, proposals, strict=True)
    ]
    union, at = np.unique(np.concatenate(found), return_index=True)
    keep = torch.from_numpy(at)
    output = ModelOutput(
        torch.cat([proposal.output.logits for proposal in proposals])[keep],
        torch.cat([proposal.output.embedding for proposal in proposals])[keep],
    )
    pool = Pool.of_outputs(_moved(output, sampler._device))
    orders = [
        Picks(np.searchsorted(union, rows), proposal.scores)
        for rows, proposal in zip(found, proposals, strict=True)
    ]
    # A part that is the whole pool has decided already.
    picks = orders[0] if len(orders) == 1 else _best(sampler, partitioning, pool, union, orders)
    indices = picks.indices[: partitioning.n]
    doubt, novelty = explain(pool, indices, sampler.problem_type, sampler._labeled)
    return Ranking(union[indices], picks.scores[: partitioning.n], doubt, novelty)


def rank_partitioned(
    sampler: ActiveSampler,
    X: Any,
    n: int | None = None,
    *,
    partitions: int,
    map: Callable[..., Iterable[Proposal]] = map,
) -> Ranking:
    """Order a pool in parts: both rounds, over candidates that this process can read.

    Parameters
    ----------
    sampler : ActiveSampler
    X : tensor, array, list or Dataset
        N candidates.
    n : int, optional
        How many to order; all when omitted, which takes the memory of the whole.
    partitions : int
        Parts; of a smaller pool as many as it has candidates.
    map : callable
        As the builtin one; that of an executor runs parts side by side. What it calls and gives it
        can be pickled, where model and samples can; a part then travels without the others. The
        ranking does not depend on it.

    Returns
    -------
    Ranking
        As `ActiveSampler.rank` gives it, and the same for one partition (of a pool of more than
        10,000 the cold start of `auto` excepted, which seeks its medoids in a sample).

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
    work = partial(_propose_for, sampler, plan.anchors, plan.n)
    portions = [_Portion(samples, part.rows) for part in plan.parts]
    return decide(sampler, plan, list(map(work, portions, plan.parts)))


def _propose_for(
    sampler: ActiveSampler, anchors: Anchors, n: int, portion: _Portion, part: Part
) -> Proposal:
    return propose(sampler, portion.read(), part.first, anchors, n, part.rows)


def _best(
    sampler: ActiveSampler,
    partitioning: Partitioning,
    pool: Pool,
    union: np.ndarray,
    orders: Sequence[Picks],
) -> Picks:
    """Pick among all proposals, or start from the picks of the part that alone does better.

    Values are compared at the budget, so that the choice does not depend on n.
    """
    strategy, part = sampler._strategy, partitioning.parts[0]
    first = np.searchsorted(union, part.rows[list(part.first)])
    context = sampler._context(pool, len(pool), partitioning.anchors, tuple(first.tolist()))
    context = replace(
        context,
        n=min(max(partitioning.n, context.depth), len(pool)),
        # The proposals are a pool of their own by now, with a shortlist only when they are many.
        anchors=replace(_on(partitioning.anchors, pool.device), size=len(pool)),
    )
    picks = strategy.rank_pool(context)
    if not strategy.telescopes:
        return picks
    value = [order.scores[: context.budget].sum() for order in orders]
    best = int(np.argmax(value))
    if value[best] <= CLEARLY_MORE * picks.scores[: context.budget].sum():
        return picks
    head = orders[best].indices[: context.budget]
    return strategy.rank_pool(replace(context, first=tuple(head.tolist())))


class _Portion:
    """A part's samples, read where they are needed: a pickled one carries its own rows only."""

    def __init__(self, samples: Samples, rows: np.ndarray | None) -> None:
        self._samples, self._rows = samples, rows

    def read(self) -> Any:
        return self._samples.samples if self._rows is None else self._samples.choose(self._rows)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Portion, (Samples(self.read()), None)


def _on(anchors: Anchors, device: torch.device) -> Anchors:
    """Give anchors whose references are on a device."""
    if anchors.references is None:
        return anchors
    return replace(anchors, references=_moved(anchors.references, device))


def _moved(output: ModelOutput, device: torch.device) -> ModelOutput:
    return ModelOutput(output.logits.to(device), output.embedding.to(device))
