"""Greedy facility location: each pick covers the most of what is not covered yet, lazily.

``f(S) = Σ_r c_r max_{j ∈ L ∪ S} κ(r, j)`` over references r, with L the labeled samples. It is
monotone and submodular: the greedy picks reach at least 1 − 1/e of the best, and a gain only falls,
so it is computed again only for a candidate that may be the best (Minoux, 1978).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from ..posterior.kernels import Kernel, Points
from ..posterior.posterior import first_best

__all__ = ["FacilityLocation", "covered_by"]

BLOCK_SIZE = 2**22  # similarities at a time, 16 MB
AT_ONCE = 32  # gains that are computed anew together


class FacilityLocation:
    """Greedy picks from candidates for references; holds the N m similarities of both.

    Parameters
    ----------
    kernel : Kernel
        Of one row per point.
    candidates : Points
        N of them.
    references : Points
        m of them.
    weights : Tensor of shape (m,)
        The worth c of each reference.
    covered : Tensor of shape (m,)
        The largest similarity of each reference to the labeled samples; 0 without any.
    """

    def __init__(
        self,
        kernel: Kernel,
        candidates: Points,
        references: Points,
        weights: torch.Tensor,
        covered: torch.Tensor,
    ) -> None:
        self._weights, self._covered = weights, covered.clone()
        self._similarities = weights.new_empty(len(candidates), len(references))
        for block, points in candidates.split(max(1, BLOCK_SIZE // len(references))):
            if references is candidates:  # earlier blocks wrote what is left of the diagonal
                right = self._similarities[block, block.start :]
                kernel.gram(points, references[block.start :], out=right)
                self._similarities[block.stop :, block] = right[:, len(points) :].T
            else:
                kernel.gram(points, references, out=self._similarities[block])
        self._open = torch.ones(len(candidates), dtype=torch.bool, device=weights.device)

    @property
    def covered(self) -> torch.Tensor:
        """How well each reference is covered so far, (m,)."""
        return self._covered

    def scores(self) -> torch.Tensor:
        """Return the gain of each candidate, (N,); −inf for those picked already."""
        rows = max(1, BLOCK_SIZE // len(self._weights))
        blocks = self._similarities.split(rows)
        gains = torch.cat([coverage_gain(block, self._covered, self._weights) for block in blocks])
        return gains.masked_fill_(~self._open, -torch.inf)

    def pick(self, n: int, preselected: Sequence[int] = ()) -> tuple[list[int], list[float]]:
        """Pick ``preselected`` in its order, then n more greedily.

        Returns
        -------
        indices : list of int
        gains : list of float
            The gain of each when it was picked.
        """
        picked: list[int] = []
        gains: list[float] = []
        for index in preselected:
            picked.append(index)
            gains.append(float(self._gain(torch.tensor([index], device=self._open.device))))
            self._cover(index)
        bounds = self.scores()  # of each gain, from above
        for _ in range(n):
            best = self._best(bounds)
            picked.append(best)
            gains.append(float(bounds[best]))
            self._cover(best)
            bounds[best] = -torch.inf
        return picked, gains

    def _best(self, bounds: torch.Tensor) -> int:
        """Return the candidate of the largest gain, after computing those that may be it."""
        fresh = torch.zeros_like(self._open)
        while True:
            best = first_best(bounds)
            if fresh[best]:
                return best
            top = bounds.topk(min(AT_ONCE, len(bounds))).indices
            stale = torch.cat([top[~fresh[top] & self._open[top]], top.new_tensor([best])]).unique()
            bounds[stale] = self._gain(stale)
            fresh[stale] = True

    def _gain(self, rows: torch.Tensor) -> torch.Tensor:
        return coverage_gain(self._similarities[rows], self._covered, self._weights)

    def _cover(self, index: int) -> None:
        self._covered = torch.maximum(self._covered, self._similarities[index])
        self._open[index] = False


def coverage_gain(
    similarities: torch.Tensor, covered: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Return the gain of each candidate from its similarities to the references, (N, m) to (N,)."""
    # A sum by rows, not a matrix product: it does not depend on how many rows there are.
    return (similarities - covered).clamp_min_(0).mul_(weights).sum(dim=1)


def covered_by(kernel: Kernel, points: Points | None, references: Points) -> torch.Tensor:
    """Return the largest similarity of each reference to some points, (m,); 0 without any."""
    covered = references.h.new_zeros(len(references))
    for block in _blocks(points, len(references)):
        covered = torch.maximum(covered, kernel.gram(block, references).amax(dim=0))
    return covered


def _blocks(points: Points | None, columns: int) -> Iterator[Points]:
    if points is not None:
        yield from (block for _, block in points.split(max(1, BLOCK_SIZE // columns)))
