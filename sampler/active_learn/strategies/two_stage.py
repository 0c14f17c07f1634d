"""A-optimal selection from a pool of any size, for the strategies that differ in kernel only."""

from __future__ import annotations

import numpy as np
import torch

from ..models import ModelOutput
from ..posterior.fisher import uncertainty
from ..posterior.kernels import Kernel
from ..posterior.posterior import Posterior
from ..selectors.a_optimal import AOptimalDesign
from .base import Context, Selection

__all__ = ["draw_references", "greedy_design", "sample_rows"]

# Two stages above this size: every candidate is scored once, a shortlist enters the greedy one.
SHORTLIST_ABOVE = 20_000
SHORTLIST = 10_000
STAGE_ONE_REFERENCES = 256
STAGE_ONE_CONDITIONED = 64


def greedy_design(
    context: Context,
    kernel: Kernel,
    ridge: float,
    references: int,
    *,
    weigh: bool = False,
) -> Selection:
    """Return the picks of the greedy A-optimal design, then the others by remaining gain.

    Parameters
    ----------
    context : Context
    kernel : Kernel
    ridge : float
    references : int
        Points drawn from the pool to represent it; all of them when there are no more.
    weigh : bool
        Weigh each reference by the model's uncertainty, once there are labels.

    Notes
    -----
    Above 20,000 candidates each is scored once, against 256 of the references and at most 64
    labeled rows, in streamed blocks; the best 10,000 enter the greedy selection. Memory is then
    bounded by the shortlist: 4 · 10,000 · (d + m) bytes and one block. A partition of such a pool
    has its share of the shortlist, and at least twice what is picked.
    """
    pool = context.pool
    preselected = list(context.preselected)
    output = draw_references(context, references)
    weights = reference_weights(context, output) if weigh else None
    points = kernel.points(output)
    labeled = None if context.labeled is None else kernel.points(context.labeled)
    posterior = Posterior(kernel, ridge, labeled, context.max_conditioned)
    greedy = max(0, min(context.n_greedy, context.n) - len(preselected))
    if context.whole() <= SHORTLIST_ABOVE:
        themselves = context.summary is None and len(points) == len(pool)
        of_pool = output if themselves else pool.outputs()
        candidates = points if themselves else kernel.points(of_pool)
        design = AOptimalDesign(posterior, candidates, points, weights, of_pool.costs)
        picked, gains = design.pick(greedy, preselected)
        return Selection.completed(picked, gains, design.scores(), context.n)

    coarse = Posterior(kernel, ridge, labeled, min(STAGE_ONE_CONDITIONED, context.max_conditioned))
    few = torch.linspace(0, len(points) - 1, STAGE_ONE_REFERENCES).long().unique()
    scale = len(points) / len(few)
    scores = torch.empty(len(pool))
    for block, batch in pool.blocks(with_logits=kernel.uses_logits):
        of_few = None if weights is None else weights[few]
        of_block = AOptimalDesign(coarse, kernel.points(batch), points[few], of_few, batch.costs)
        scores[block] = of_block.scores().mul_(scale).cpu()
    share = -(-SHORTLIST * len(pool) // context.whole())
    short = shortlist(scores, max(share, 2 * context.n_greedy), preselected)
    likely = pool.take(short)
    design = AOptimalDesign(posterior, kernel.points(likely), points, weights, likely.costs)
    picked, gains = design.pick(greedy, np.searchsorted(short, preselected).tolist())
    best = Selection.completed(picked, gains, design.scores(), min(context.n, len(short)))
    scores[short] = -torch.inf
    rest = Selection.descending(scores, context.n - len(best.indices))
    return Selection(
        np.concatenate([short[best.indices], rest.indices]),
        np.concatenate([best.scores, rest.scores]),
    )


def draw_references(context: Context, limit: int) -> ModelOutput:
    """Return the points that represent the pool: the summary's, or ``limit`` drawn from it."""
    if context.summary is not None and context.summary.references is not None:
        return context.summary.references
    return context.pool.take(sample_rows(len(context.pool), limit, context.rng))


def sample_rows(size: int, limit: int, rng: np.random.Generator) -> np.ndarray:
    """Return all rows, or a uniform sample of ``limit`` of them, in order."""
    if size <= limit:
        return np.arange(size)
    return np.sort(rng.choice(size, size=limit, replace=False))


def reference_weights(context: Context, output: ModelOutput) -> torch.Tensor | None:
    """Return one minus the margin of each reference; None before any label."""
    return uncertainty(output.logits, context.problem_type) if context.has_labels else None


def shortlist(scores: torch.Tensor, size: int, always: list[int]) -> np.ndarray:
    """Return the rows of the best scores and of those in ``always``, in order."""
    best = scores.topk(min(size, len(scores))).indices.numpy()
    return np.union1d(best, np.asarray(always, dtype=np.int64))
