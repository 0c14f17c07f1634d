"""One vector a task, of its parts by how much the heads doubt them: what the selection compares."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from active_learn import RaggedArray
from active_learn.heads import PartTagger

from ...labeling.controls import RegionTag
from ..regions.parts import Parts, PartsOfTasks
from ..user_models import unit_length
from .region_heads import doubts

if TYPE_CHECKING:
    from active_learn import PooledTasks

__all__ = ["drawn_at_random", "pool_tasks", "side_by_side"]

FloatArray = npt.NDArray[np.float32]
Prior = Callable[[Parts], FloatArray | None]


def drawn_at_random(
    controls: Sequence[RegionTag], by_doubt: Iterable[bool], *, has_head: bool
) -> bool:
    """Return whether `auto` draws tasks by chance: nothing known tells which of them teach more.

    Means of hashed words differ most in short texts, half of which have no region: chosen by them,
    the first texts taught less than any. Of key points each order that was tried taught less than
    chance.

    Parameters
    ----------
    by_doubt : iterable of bool
        Of the parts of each control, see `PartsOfField`.
    """
    if all(control.shape == "point" for control in controls):
        return True
    return not (has_head or any(by_doubt))


def pool_tasks(
    tasks: PartsOfTasks,
    heads: Sequence[PartTagger],
    *,
    by_doubt: bool = True,
    prior: Prior = lambda parts: None,
) -> PooledTasks:
    """Pool the parts of tasks, in blocks of bounded memory.

    Parameters
    ----------
    heads : sequence of PartTagger
        A part weighs as much as the head that doubts it most.
    prior : callable
        Returns the weights of parts without a head, see `PartKind.prior`; None: all weigh 1.
    by_doubt : bool
        See `pool_parts`.
    """
    from active_learn import PooledTasks, pool_parts  # imports torch, which takes seconds

    vectors = np.zeros((len(tasks), tasks.n_features), np.float32)
    doubts = np.zeros(len(tasks), np.float32)
    for at, parts in tasks.blocks():
        ragged = RaggedArray(parts.rows, parts.offsets)
        weights = None if heads else prior(parts)
        likely = partial(_most_doubted, heads) if heads else None
        if weights is not None:
            likely = partial(_with_doubts, weights)
        found = pool_parts(ragged, likely, by_doubt=by_doubt)
        vectors[at], doubts[at] = found.vectors, found.doubts
    return PooledTasks(vectors, doubts, np.maximum(tasks.sizes, 1).astype(np.float32))


def side_by_side(pooled: Sequence[PooledTasks], vectors: FloatArray) -> PooledTasks:
    """Return what was pooled of several fields beside vectors (n, d), each in unit length."""
    from active_learn import PooledTasks

    columns = [unit_length(one.vectors - one.vectors.mean(axis=0)) for one in pooled]
    if vectors.shape[1]:
        columns.append(unit_length(vectors - vectors.mean(axis=0)))
    return PooledTasks(
        np.concatenate(columns, axis=1),
        np.max([one.doubts for one in pooled], axis=0),
        np.sum([one.costs for one in pooled], axis=0),
    )


def _most_doubted(heads: Sequence[PartTagger], parts: RaggedArray) -> FloatArray:
    """Return probabilities of which the margin is the least that a head has, (P, 2 or more)."""
    if len(heads) == 1:
        return heads[0].flat_probabilities(parts)
    unsure = np.max([doubts(head.flat_probabilities(parts)) for head in heads], axis=0)
    found: FloatArray = np.stack([1 - unsure / 2, unsure / 2], axis=1)
    return found


def _with_doubts(weights: FloatArray, parts: RaggedArray) -> FloatArray:
    """Return probabilities of which the doubt is a weight, (P, 2)."""
    found: FloatArray = np.stack([1 - weights / 2, weights / 2], axis=1)
    return found
