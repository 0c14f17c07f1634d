"""The queue of a round: the ranked batch, audit tasks mixed in, skipped tasks at the end."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from active_learn import ActiveSampler, LabeledData, Ranking
from active_learn.validation import Problem, types_of

from ...settings import RANDOM_STATE, Settings
from ...state.store import QueueRow
from ..embedding.cache import Vectors
from .audit_set import mix
from .label_noise import label_noise
from .queue_size import QueueSize, queue_size
from .snapshot import Mask, Positions, Snapshot

__all__ = ["choose", "sampler_for"]

FloatArray = npt.NDArray[np.float32]
Rank = Callable[[ActiveSampler, Vectors, Positions, int], Ranking]


def sampler_for(
    problem: Problem, model: Any, settings: Settings, known: Any, budget: int | float
) -> ActiveSampler:
    """Build the sampler of a round, conditioned on known embeddings of shape (m, d).

    They are an array, or `LabeledData` where more is known of them.
    """
    stream = isinstance(budget, float)
    return ActiveSampler(
        problem,
        model,
        budget,
        # The first pass over a whole pool is what a stream does not have.
        precompute_covariance=not stream,
        seed_fisher=True,
        labeled_data=known,
        strategy=settings.strategy,
        random_state=RANDOM_STATE,
    )


def choose(
    snapshot: Snapshot,
    problem: Problem,
    model: Any,
    settings: Settings,
    ranked: Rank,
    size: QueueSize | None = None,
    controls: Sequence[str] = (),
    first: Collection[int] = (),
) -> tuple[Positions, list[QueueRow]]:
    """Choose the queue that is served next.

    Parameters
    ----------
    problem : {'classification', 'regression', 'multilabel'} or tuple of Output
        What the model predicts: the outputs of all controls.
    model : LinearHead or callable
        The sampler's model, with the snapshot's embeddings as candidates.
    ranked : callable
        Ranks the tasks at some positions, see `Engine.rank`.
    size : QueueSize, optional
        By the settings alone when omitted.
    controls : sequence of str
        Names of the controls, in the order of the model's outputs.
    first : collection of int
        Ids of tasks that are served before all others, in this order.

    Returns
    -------
    positions : array of int64
        In the snapshot, in the order in which they are served.
    rows : list of QueueRow
        The same, with the reasons.
    """
    open_ = ~snapshot.labeled & ~snapshot.skipped
    ahead = _ahead(snapshot, open_, first)
    open_[ahead] = False
    pool = np.flatnonzero(open_ & ~snapshot.audit)
    if isinstance(settings.budget, float):
        pool = np.flatnonzero(open_ & ~snapshot.audit & snapshot.decided("kept"))
    size = size or queue_size(settings)
    order, uncertainty, novelty = pool[:0], np.empty(0), np.empty(0)
    if len(pool):
        known = _known(snapshot, problem, controls)
        sampler = sampler_for(problem, model, settings, known, min(settings.batch, len(pool)))
        ranking = ranked(sampler, snapshot.embeddings, pool, min(size.ranked, len(pool)))
        order, uncertainty, novelty = (
            pool[ranking.indices], ranking.uncertainty, ranking.novelty
        )  # fmt: skip
    reasons = dict(zip(order.tolist(), zip(uncertainty, novelty, strict=True), strict=True))
    # A task that somebody skipped may be served to others, but only after everything else.
    spare = np.flatnonzero(~snapshot.labeled & snapshot.skipped)
    order = np.concatenate([order, _drawn(snapshot, pool, order, size)])
    mixed = [(at, False) for at in ahead]
    mixed += _mixed(snapshot, order, open_, settings, size.rows)
    mixed += [(int(at), False) for at in spare[: max(size.rows - len(mixed), 0)]]
    probabilities = _selection_probabilities(mixed, int((~snapshot.labeled).sum()), settings)
    rows = []
    for rank, (at, audit) in enumerate(mixed):
        unsure, novel = reasons.get(at, (0.0, 0.0))
        drawn = audit or at in reasons
        rows.append(
            QueueRow(
                snapshot.rows[at].task_id,
                rank,
                rank < settings.batch,
                float(unsure),
                float(novel),
                audit,
                probabilities[rank] if drawn else None,
            )
        )
    return np.array([at for at, _ in mixed], dtype=np.int64), rows


def _ahead(snapshot: Snapshot, open_: Mask, first: Collection[int]) -> list[int]:
    """Return the positions of tasks that are served before all others."""
    ids, wanted = snapshot.rows.ids, list(first)
    found = np.searchsorted(ids, wanted).tolist()
    places = zip(wanted, found, strict=True)
    return [at for task, at in places if at < len(ids) and ids[at] == task and open_[at]]


def _known(snapshot: Snapshot, problem: Problem, controls: Sequence[str]) -> LabeledData:
    """Return the tasks that train with the noise of their labels; in regression with the labels."""
    at = snapshot.training
    numbers = set(types_of(problem)) == {"regression"} and controls
    return LabeledData(
        snapshot.embeddings[at],
        targets=snapshot.numbers(at, controls) if numbers else None,
        noise=label_noise([snapshot.rows[position] for position in at]),
    )


def _drawn(snapshot: Snapshot, pool: Positions, order: Positions, size: QueueSize) -> Positions:
    """Draw the tasks that stand behind the ranked ones, by the hash of their content."""
    others = np.setdiff1d(pool, order, assume_unique=True)
    return _first_by(snapshot.places(RANDOM_STATE), others, size.rows - size.ranked)


def _first_by(places: npt.NDArray[np.float64], at: Positions, n: int) -> Positions:
    """Return the n positions with the lowest places, in their order; few of very many."""
    if 0 < n < len(at):
        at = at[places[at] <= np.partition(places[at], n - 1)[n - 1]]
    return at[np.argsort(places[at], kind="stable")][: max(n, 0)]


def _mixed(
    snapshot: Snapshot, order: Positions, open_: Mask, settings: Settings, wanted: int
) -> list[tuple[int, bool]]:
    audit, places = np.flatnonzero(open_ & snapshot.audit), snapshot.places(RANDOM_STATE)
    if isinstance(settings.budget, float):
        # Of a stream only a share is served at all, and the audit set is a share of that.
        audit = audit[places[audit] < settings.audit * settings.budget]
    return list(
        mix(
            order.tolist(),
            _first_by(places, audit, wanted).tolist(),
            n_rows=wanted,
            share=settings.audit,
            served=int(snapshot.labeled.sum()),
            served_audit=len(snapshot.measuring),
        )
    )


def _selection_probabilities(
    mixed: Sequence[tuple[int, bool]], n_left: int, settings: Settings
) -> list[float | None]:
    """Return the probability with which each task was drawn from those then left.

    The queue is a mixture: with a probability of AUDIT any task, else the one ranked first
    (the balance heuristic of Veach & Guibas, SIGGRAPH 1995). On a stream, and without an audit
    set, it is not known.
    """
    share = settings.audit
    if not share or isinstance(settings.budget, float):
        return [None] * len(mixed)
    probabilities: list[float | None] = []
    for rank, (_, audit) in enumerate(mixed):
        uniform = share / max(n_left - rank, 1)
        probabilities.append(uniform if audit else 1 - share + uniform)
    return probabilities
