"""Weighted coverage: candidates that stand for the most of what no labeled sample resembles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from ..selectors.facility_location import FacilityLocation, coverage_gain, covered_by
from .aopt import AOpt
from .base import Context, Selection, register
from .two_stage import check_others, reference_weights, sample_pool

__all__ = ["Coverage"]


@register
@dataclass(frozen=True)
class Coverage(AOpt):
    """Greedy facility location: each pick raises ``Σ_r w_r² max_j κ(r, j)`` the most.

    κ is the radial kernel, j runs over the labeled samples and the picks, and the references r over
    the pool, with weight ``w_r`` = one minus the margin (1 before any label and in regression). It
    needs no model: without labels, and where the model says nothing, it finds what is not covered.
    Of pools of more than 10,000, a uniform sample of 6,000 enters the greedy selection; behind it
    the others follow by the gain that is left.

    Takes the parameters of `aopt`, of which `ridge` and `beta` have no effect, and has no stream
    form of its own: it decides as `aopt` does.

    References
    ----------
    Bae et al., "Generalized Coverage for More Robust Low-Budget Active Learning" (MaxHerding),
    ECCV 2024.
    Bae et al., "Uncertainty Herding: One Active Learning Method for All Label Budgets", ICLR 2025.
    """

    name: ClassVar[str] = "coverage"

    def rank_pool(self, context: Context) -> Selection:
        """Return greedy picks, then the others by remaining gain."""
        kernel, pool = self.kernel(context.problem_type), context.pool
        rows, entering, output = sample_pool(context, self.references)
        references = kernel.points(output)
        candidates = references if output is entering else kernel.points(entering)
        weights = reference_weights(context, output)
        worth = references.h.new_ones(len(references)) if weights is None else weights.square()
        labeled = None if context.labeled is None else kernel.points(context.labeled)
        covered = covered_by(kernel, labeled, references)
        selector = FacilityLocation(kernel, candidates, references, worth, covered)
        greedy = max(0, min(context.n_greedy, context.n) - len(context.preselected))
        preselected = np.searchsorted(rows, context.preselected).tolist()
        picked, gains = selector.pick(greedy, preselected)
        best = Selection.completed(picked, gains, selector.scores(), min(context.n, len(rows)))
        best = Selection(rows[best.indices], best.scores)
        if context.n <= len(rows):
            check_others(context, rows)
            return best
        left = torch.empty(len(pool))
        for block, batch in pool.blocks(with_logits=kernel.uses_logits):
            similarities = kernel.gram(kernel.points(batch), references)
            left[block] = coverage_gain(similarities, selector.covered, worth).cpu()
        return best.followed_by(left, context.n)
