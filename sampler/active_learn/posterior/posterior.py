"""Exact conditioning in Gram form: the variance that is left once some samples are labeled.

With ``M = (λI + Σ_S u uᵀ)⁻¹`` over the conditioned set S, and ``L Lᵀ = λI + G_SS``,

    u_iᵀ M u_j = (g_ij − z_i · z_j) / λ,    z_i = L⁻¹ g_S,i

so that a pass over N candidates costs O(N |S| (d + K + |S|)) whatever K * d is.

References
----------
Saran et al., "Streaming Active Learning with Deep Neural Networks", ICML 2023, section 4.
Harbrecht et al., "On the low-rank approximation by the pivoted Cholesky decomposition", 2012.
"""

from __future__ import annotations

import copy

import torch

from ..errors import ParameterError
from ..models import BLOCK_ROWS
from .columns import ColumnCache
from .kernels import Kernel, Points

__all__ = ["Posterior", "first_best", "pivoted_cholesky"]

PIVOTS_AHEAD = 32
# Rows of a triangular factor that are multiplied at once.
TRIANGLE_ROWS = 256


def first_best(scores: torch.Tensor) -> int:
    """Return the first index whose score is the best to rounding, so that ties never flip.

    Duplicates have equal scores up to rounding, which depends on how a matrix product was blocked;
    taking the first within a few units of rounding makes the choice independent of it.
    """
    best = scores.max()
    tolerance = 32 * torch.finfo(scores.dtype).eps
    return int((scores >= best - tolerance * best.abs()).nonzero()[0, 0])


def pivoted_cholesky(kernel: Kernel, points: Points, size: int) -> torch.Tensor:
    """Return the ``size`` points that explain the Gram matrix of all of them best.

    Greedy pivoting: each step chooses the point whose conditional variance (its trace over the R
    rows) is largest. Stops early once nothing is left to explain.

    Parameters
    ----------
    kernel : Kernel
    points : Points
        n of them.
    size : int
        Points to keep.

    Returns
    -------
    Tensor of int64 of shape (at most size,), in order of choice
    """
    n, rank = len(points), points.rank
    left = kernel.own(points).diagonal(dim1=1, dim2=2).clone()
    rows = left.new_zeros(size * rank, n * rank)  # of the factor, one per pivot
    floor = 1e-6 * float(left.sum(dim=1).max())
    chosen: list[int] = []
    filled = 0

    def compute(indices: torch.Tensor) -> list[tuple[torch.Tensor, int]]:
        at = (indices[:, None] * rank + torch.arange(rank).to(indices)).flatten()
        gram = kernel.gram(points[indices], points)
        gram.addmm_(rows[:filled, at].T, rows[:filled], alpha=-1)
        return [(block, filled) for block in gram.view(len(indices), rank, -1)]

    columns = ColumnCache(compute, keep=0)
    while len(chosen) < min(size, n):
        trace = left.sum(dim=1)
        best = first_best(trace)
        if float(trace[best]) <= floor:
            break
        if best not in columns:
            trace[best] = torch.inf
            columns.fetch(trace.topk(min(PIVOTS_AHEAD, n)).indices)
        block, since = columns.pop(best)
        for row in range(rank):
            pivot = best * rank + row
            later = rows[since:filled]
            column = block[row].addmv(later.T, later[:, pivot].clone(), alpha=-1)
            if float(column[pivot]) > floor:
                rows[filled] = column / column[pivot].sqrt()
                left -= rows[filled].view(n, rank).square()
                filled += 1
        left[best] = 0
        left.clamp_min_(0)
        chosen.append(best)
    return torch.tensor(chosen, dtype=torch.int64, device=left.device)


def lower_times(lower: torch.Tensor, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """Return a lower triangular matrix times another one, without the zeros above the diagonal."""
    for start in range(0, len(lower), TRIANGLE_ROWS):
        stop = min(start + TRIANGLE_ROWS, len(lower))
        torch.mm(lower[start:stop, :stop], x[:stop], out=out[start:stop])
    return out


def times_lower(x: torch.Tensor, lower: torch.Tensor) -> torch.Tensor:
    """Return a matrix times a lower triangular one, without the zeros above the diagonal."""
    out = torch.zeros_like(x)
    for start in range(0, len(lower), TRIANGLE_ROWS):
        stop = min(start + TRIANGLE_ROWS, len(lower))
        out[:, :stop].addmm_(x[:, start:stop], lower[start:stop, :stop])
    return out


class Posterior:
    """Covariances of candidates conditioned on a set of samples.

    Parameters
    ----------
    kernel : Kernel
    ridge : float
        λ, in units of the kernel.
    conditioned : Points, optional
        The samples that are known already.
    max_conditioned : int, optional
        With more rows than that, the points that pivoted Cholesky ranks first are kept.
    """

    def __init__(
        self,
        kernel: Kernel,
        ridge: float,
        conditioned: Points | None = None,
        max_conditioned: int | None = None,
    ) -> None:
        self.kernel = kernel
        self.ridge = ridge
        self.max_conditioned = max_conditioned
        self.conditioned: Points | None = None
        # L⁻¹ in float64, and in the dtype of the points: products with it are several times as
        # fast as triangular solves.
        self._inverse: torch.Tensor | None = None
        self._whitener: torch.Tensor | None = None
        # Storage of both, with room for further rows, once rows have been appended.
        self._storage: tuple[torch.Tensor, torch.Tensor] | None = None
        if conditioned is not None and len(conditioned):
            self.condition(conditioned)

    @property
    def size(self) -> int:
        """Rows that are conditioned on, |S| * R."""
        return 0 if self._inverse is None else len(self._inverse)

    def unbounded(self) -> Posterior:
        """Return a copy that keeps all samples that it will be conditioned on.

        It shares the present samples' factors, which no method writes to.
        """
        other = copy.copy(self)
        other.max_conditioned, other._storage = None, None
        return other

    def condition(self, points: Points) -> None:
        """Condition on further samples; the result is that of all samples at once."""
        known = self.conditioned
        union = points if known is None else known.cat(points)
        limit = self.max_conditioned
        if limit is not None and len(union) * union.rank > limit:
            keep = pivoted_cholesky(self.kernel, union, max(1, limit // union.rank))
            self.conditioned, self._inverse, self._storage = None, None, None
            points = union = union[keep]
            known = None
        # float64: the smallest eigenvalue is λ while the largest grows with |S|.
        new = points.double()
        gram = self.kernel.gram(new, new)
        gram.diagonal().add_(self.noise(new))
        if known is not None and self._inverse is not None:
            across = self.kernel.gram(known.double(), new)
            z = lower_times(self._inverse, across, out=torch.empty_like(across))
            corner = self.inverse_factor(gram - z.T @ z)
            self._append(times_lower(-corner @ z.T, self._inverse), corner, points.h.dtype)
        else:
            self._inverse = self.inverse_factor(gram)
            self._whitener = self._inverse.to(points.h.dtype)
        self.conditioned = union

    def extend(self, points: Points, z: torch.Tensor) -> None:
        """Condition on further samples whose whitened rows ``z`` are known, from `whiten`.

        As exact as z is, for half of the work of `condition` and in the dtype of the points: the
        former rows of L⁻¹ stay, and the error of a new row is not carried on but by products with
        z, whose rows are shorter than the kernel's root. `max_conditioned` is not looked at.
        """
        known, whitener = self.conditioned, self._whitener
        if known is None or whitener is None:
            self.condition(points)
            return
        new, exact = points.double(), z.double()
        gram = self.kernel.gram(new, new)
        gram.diagonal().add_(self.noise(new))
        corner = self.inverse_factor(gram - exact @ exact.T)
        left = times_lower((corner @ exact).to(whitener).neg_(), whitener)
        self._append(left.double(), corner, points.h.dtype)
        self.conditioned = known.cat(points)

    def _append(self, left: torch.Tensor, corner: torch.Tensor, dtype: torch.dtype) -> None:
        """Append rows ``[left, corner]`` to L⁻¹, without a copy of it where there is room."""
        size, total = left.shape[1], left.shape[1] + len(left)
        assert self._inverse is not None
        if self._storage is None or total > len(self._storage[0]):
            square = (total + total // 2, total + total // 2)
            self._storage = left.new_zeros(square), left.new_zeros(square, dtype=dtype)
            for storage in self._storage:
                storage[:size, :size] = self._inverse
        for storage in self._storage:
            storage[size:total, :size], storage[size:total, size:total] = left, corner
        self._inverse, self._whitener = (storage[:total, :total] for storage in self._storage)

    def noise(self, points: Points) -> torch.Tensor | float:
        """Return the variance of the noise of each row's label."""
        if points.noise is None:
            return self.ridge
        return self.ridge * points.noise.repeat_interleave(points.rank)

    def through(self, landmarks: Points, factor: torch.Tensor) -> None:
        """Condition on what landmarks say: ``z`` is a lower triangular factor times ``g_S``."""
        self.conditioned, self._inverse = landmarks, factor
        self._whitener = factor.to(landmarks.h.dtype)

    def inverse_factor(self, gram: torch.Tensor) -> torch.Tensor:
        """Return the inverse of the lower Cholesky factor.

        Raises
        ------
        ParameterError
            When rounding leaves none.
        """
        factor, failed = torch.linalg.cholesky_ex(gram)
        if failed:
            raise ParameterError(
                f"ridge={self.ridge} is lost in rounding beside the kernel's values "
                f"(up to {float(gram.diagonal().max()):.2g}); use a larger one"
            )
        eye = torch.eye(len(factor), dtype=factor.dtype, device=factor.device)
        return torch.linalg.solve_triangular(factor, eye, upper=False)

    def whiten(self, x: Points) -> torch.Tensor:
        """Return ``z = L⁻¹ g_S`` of each row of x, shape (len(x) * R, |S|)."""
        whitener = self._whitener
        if self.conditioned is None or whitener is None:
            return x.h.new_zeros(len(x) * x.rank, 0)
        z = x.h.new_empty(len(whitener), len(x) * x.rank)
        for rows, block in x.split(BLOCK_ROWS):
            gram = self.kernel.gram(self.conditioned, block)
            columns = z[:, rows.start * x.rank : rows.stop * x.rank]
            lower_times(whitener, gram, out=columns)
        return z.T

    def covariance(
        self,
        x: Points,
        y: Points,
        z_x: torch.Tensor,
        z_y: torch.Tensor,
        out: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return ``u_iᵀ M u_j`` of each row of x with each row of y; z from `whiten`."""
        gram = self.kernel.gram(x, y, out)
        if z_x.shape[1]:
            gram.addmm_(z_x, z_y.T, alpha=-1)
        return gram.div_(self.ridge)

    def variance(self, x: Points, z: torch.Tensor) -> torch.Tensor:
        """Return ``u_iᵀ M u_i`` of each point with itself, (len(x), R, R); never below 0."""
        q = self.kernel.own(x)
        if z.shape[1] and x.rank == 1:
            q = q - z.square().sum(dim=1)[:, None, None]
        elif z.shape[1]:
            blocks = z.reshape(len(x), x.rank, z.shape[1])
            q = q - blocks @ blocks.transpose(1, 2)
        q = q / self.ridge
        q.diagonal(dim1=1, dim2=2).clamp_min_(0)
        return q
