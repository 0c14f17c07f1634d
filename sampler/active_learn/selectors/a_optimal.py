"""Greedy A-optimal design: each pick lowers the variance left on a set of references the most.

With ``C = [u_rᵀ M u_i]`` over references r and candidates i, ``Q_i = u_iᵀ M u_i`` and
``N_i = C_iᵀ C_i`` (R x R blocks), labeling i lowers ``Σ_r u_rᵀ M u_r`` by ``tr((I + Q_i)⁻¹ N_i)``.

References
----------
Ash et al., "Gone Fishing: Neural Active Learning with Fisher Embeddings", NeurIPS 2021, eq. 7.
Allen-Zhu et al., "Near-Optimal Design of Experiments via Regret Minimization", ICML 2017.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from ..posterior.columns import ColumnCache
from ..posterior.kernels import Points
from ..posterior.posterior import Posterior, first_best

__all__ = ["AOptimalDesign", "a_optimal_gain", "per_cost"]

# Columns of C₀C₀ᵀ that one pass over C₀ fetches, at most and at least: few at once cost nearly as
# much as more of them.
PREFETCH = 128
WORTH_A_PASS = 16
MAX_COLUMNS = 512
# Candidates among which the next picks are looked for, whose covariances cost a few columns.
LOOKED_AT = 256
# Covariances that are worked on at once: they go through several passes, which the cache serves.
BLOCK_SIZE = 2**22
# A gain per cost drifts to tasks that are short and teach little, one per task to long ones; of
# 0, 0.5 and 1, measured on entities in four corpora, the root was best.
COST_POWER = 0.5


def per_cost(gains: torch.Tensor, costs: torch.Tensor | None) -> torch.Tensor:
    """Return gains divided by the root of what the candidates cost."""
    return gains if costs is None else gains / costs**COST_POWER


def a_optimal_gain(q: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
    """Return ``tr((I + Q)⁻¹ N)`` of each candidate, (n,), never below 0; q and n are (n, R, R)."""
    if q.shape[1] == 1:
        return (n / (1 + q))[:, 0, 0].clamp_min_(0)
    eye = torch.eye(q.shape[1], dtype=q.dtype, device=q.device)
    return torch.linalg.solve(eye + q, n).diagonal(dim1=1, dim2=2).sum(dim=1).clamp_min_(0)


class AOptimalDesign:
    """The state of a greedy A-optimal selection among N candidates.

    ``C₀`` (candidates x references) is computed once and only read. Picks are kept as rank-1
    corrections ``C = C₀ − Y Y_Rᵀ``, with ``P = C₀ Y_R``, so that a pick costs O(N t) after t picks
    plus its share of a matrix product.

    Parameters
    ----------
    posterior : Posterior
        Conditioned on what is labeled.
    candidates, references : Points
        N and m of them, of the same rank R.
    weights : Tensor of shape (m,), optional
        How much the variance of a reference matters: the objective weighs it by the square.
    costs : Tensor of shape (N,), optional
        What it costs to label each candidate: gains are divided by the root of it.

    Notes
    -----
    Memory: 4 N (m R + |S| + 2 t) R bytes in float32.
    """

    def __init__(
        self,
        posterior: Posterior,
        candidates: Points,
        references: Points,
        weights: torch.Tensor | None = None,
        costs: torch.Tensor | None = None,
    ) -> None:
        self._costs = costs
        self._posterior = posterior
        self._candidates = candidates
        self._rank = candidates.rank
        self._z = posterior.whiten(candidates)
        self._q = posterior.variance(candidates, self._z)
        self._c0 = self._cross_covariance(references, weights)
        # Rows of P and Y: one per conditioned row, each over all rows of candidates.
        self._y = candidates.h.new_empty(0, len(candidates) * self._rank)
        self._p = candidates.h.new_empty(0, len(candidates) * self._rank)
        self._y_r = candidates.h.new_empty(0, len(references) * self._rank)
        self._steps = 0
        self._open = torch.ones(len(candidates), dtype=torch.bool, device=candidates.h.device)

    def _cross_covariance(self, references: Points, weights: torch.Tensor | None) -> torch.Tensor:
        x, rank = self._candidates, self._rank
        symmetric = references is x
        z_r = self._z if symmetric else self._posterior.whiten(references)
        c0 = x.h.new_empty(len(x) * rank, len(references) * rank)
        self._n = torch.empty_like(self._q)
        factors = c0.new_ones(len(references)) if weights is None else weights
        factors = factors.repeat_interleave(rank)
        for block, points in x.split(max(1, BLOCK_SIZE // (rank * c0.shape[1]))):
            rows = slice(block.start * rank, block.stop * rank)
            c = c0[rows]
            if symmetric:  # earlier blocks wrote what is left of the diagonal
                others, z_others = references[block.start :], z_r[rows.start :]
                right = c[:, rows.start :]
                self._posterior.covariance(points, others, self._z[rows], z_others, out=right)
                c0[rows.stop :, rows] = right[:, len(c) :].T
            else:
                self._posterior.covariance(points, references, self._z[rows], z_r, out=c)
            c.mul_(factors)
            if rank == 1:
                self._n[block, 0, 0] = torch.linalg.vector_norm(c, dim=1).square_()
            else:
                blocks = c.view(len(points), rank, -1)
                self._n[block] = blocks @ blocks.transpose(1, 2)
        return c0

    def scores(self) -> torch.Tensor:
        """Return the gain of each candidate, (N,); −inf for those picked already."""
        gain = per_cost(a_optimal_gain(self._q, self._n), self._costs)
        return gain.masked_fill_(~self._open, -torch.inf)

    def pick(self, n: int, preselected: Sequence[int] = ()) -> tuple[list[int], list[float]]:
        """Pick ``preselected`` in its order, then n more greedily.

        Returns
        -------
        indices : list of int
        gains : list of float
            The gain of each when it was picked.
        """
        total = len(preselected) + n
        self._reserve(total * self._rank)
        # No attribute: it refers to the design, which would then wait for the garbage collector.
        columns = ColumnCache(self._compute_columns, keep=MAX_COLUMNS)
        if preselected:
            columns.fetch(torch.tensor(preselected, device=self._open.device))
        picked, gains = [], []
        for step in range(total):
            scores = self.scores()
            best = preselected[step] if step < len(preselected) else first_best(scores)
            picked.append(best)
            gains.append(float(scores[best]))
            if best not in columns:
                ahead = self._next_picks(scores, total - step)
                new = [index for index in ahead if index != best and index not in columns]
                columns.fetch(torch.tensor([best, *new], device=self._open.device))
            self._condition(best, *columns.pop(best))
        return picked, gains

    def _condition(self, index: int, base_c: torch.Tensor, base_w: torch.Tensor) -> None:
        """Condition on one candidate, as if it were labeled, by its columns."""
        for row in range(self._rank):
            at, t = index * self._rank + row, self._steps
            y, p, y_r = self._y[:t], self._p[:t], self._y_r[:t]
            y_at = y[:, at].clone()
            c = base_c[row].addmv(y.T, y_at, alpha=-1)
            w = base_w[row].addmv(p.T, y_at, alpha=-1)  # C₀ c_R
            c_r = self._c0[at].addmv(y_r.T, y_at, alpha=-1)
            v = w.addmv(y.T, y_r @ c_r, alpha=-1)  # C c_R
            f = float(1 / (1 + c[at].clamp_min(0)))
            self._downdate(c, v, f, float(c_r.square().sum()))
            self._y[t], self._p[t], self._y_r[t] = c * f**0.5, w * f**0.5, c_r * f**0.5
            self._steps += 1
        self._open[index] = False

    def _downdate(self, c: torch.Tensor, v: torch.Tensor, f: float, norm: float) -> None:
        """Apply the rank-1 step with gain f, column c of candidates and ``v = C c_R``."""
        if self._rank == 1:
            c, v = c[:, None, None], v[:, None, None]
            self._n -= c * (2 * f * v - f * f * norm * c)
            self._q -= f * c * c
            return
        c, v = c.view(-1, self._rank, 1), v.view(-1, 1, self._rank)
        cross = f * (c @ v)
        self._n -= cross + cross.transpose(1, 2) - f * f * norm * (c @ c.transpose(1, 2))
        self._q -= f * (c @ c.transpose(1, 2))

    def _next_picks(self, scores: torch.Tensor, wanted: int) -> list[int]:
        """Return candidates that are picked next.

        The selection goes on among the best candidates alone, whose covariances are few. It is that
        among all of them while its gains are above the others', which hardly ever rise.
        """
        top = scores.topk(min(LOOKED_AT, len(scores)))
        near = top.indices[top.values > -torch.inf].sort().values
        floor = float(top.values[-1]) if len(near) < int(self._open.sum()) else -torch.inf
        rows, t = self._rows(near), self._steps
        y, x, z = self._y[:t, rows], self._candidates[near], self._z[rows]
        q = self._posterior.covariance(x, x, z, z).addmm_(y.T, y, alpha=-1)
        c = self._c0[rows].addmm_(y.T, self._y_r[:t], alpha=-1)
        costs = None if self._costs is None else self._costs[near]
        ahead = CovarianceDesign(q, c @ c.T, self._rank, costs)
        found: list[int] = near[ahead.pick(min(PREFETCH, wanted), floor, WORTH_A_PASS)].tolist()
        return found

    def _rows(self, indices: torch.Tensor) -> torch.Tensor:
        """Return the rows of some candidates."""
        return (indices[:, None] * self._rank + torch.arange(self._rank).to(indices)).flatten()

    def _compute_columns(
        self, indices: torch.Tensor
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Return columns of the first covariance and of C₀C₀ᵀ, (R, N * R) for each candidate."""
        rows = self._rows(indices)
        x, z = self._candidates, self._z
        covariance = self._posterior.covariance(x[indices], x, z[rows], z)
        products = self._c0[rows] @ self._c0.T
        shape = (len(indices), self._rank, -1)
        return zip(covariance.view(shape), products.view(shape), strict=True)

    def _reserve(self, steps: int) -> None:
        """Allocate rows for further rank-1 steps."""
        more = self._steps + steps - len(self._y)
        if more > 0:
            self._y, self._p, self._y_r = (
                torch.cat([rows, rows.new_empty(more, rows.shape[1])])
                for rows in (self._y, self._p, self._y_r)
            )


class CovarianceDesign:
    """The same selection among few candidates, with the covariances of all of them in memory.

    Parameters
    ----------
    q : Tensor of shape (n R, n R)
        ``u_iᵀ M u_j``; changed.
    v : Tensor of shape (n R, n R)
        ``C_iᵀ C_j``; changed.
    rank : int
        R.
    costs : Tensor of shape (n,), optional
        What it costs to label each candidate.
    """

    def __init__(
        self, q: torch.Tensor, v: torch.Tensor, rank: int, costs: torch.Tensor | None
    ) -> None:
        self._q, self._v, self._rank, self._costs = q, v, rank, costs
        self._open = torch.ones(len(q) // rank, dtype=torch.bool, device=q.device)

    def pick(self, most: int, floor: float, least: int) -> list[int]:
        """Pick up to ``most`` candidates greedily, while their gain is above another one.

        The first ``least`` and the last ``least`` are picked whatever they gain.
        """
        picked: list[int] = []
        for _ in range(min(most, len(self._open))):
            gains = per_cost(a_optimal_gain(self._own(self._q), self._own(self._v)), self._costs)
            gains = gains.masked_fill_(~self._open, -torch.inf)
            best = first_best(gains)
            if least <= len(picked) <= most - least and float(gains[best]) < floor:
                break
            for row in range(best * self._rank, (best + 1) * self._rank):
                self._condition(row)
            self._open[best] = False
            picked.append(best)
        return picked

    def _own(self, matrix: torch.Tensor) -> torch.Tensor:
        """Return the blocks of the diagonal, (n, R, R)."""
        n = len(self._open)
        blocks = matrix.view(n, self._rank, n, self._rank)
        return blocks.diagonal(dim1=0, dim2=2).permute(2, 0, 1)

    def _condition(self, row: int) -> None:
        """Condition on one row."""
        c, v = self._q[row].clone(), self._v[row].clone()
        f = float(1 / (1 + c[row].clamp_min(0)))
        side = f * v - (0.5 * f * f * v[row]) * c
        self._v.addr_(c, side, alpha=-1).addr_(side, c, alpha=-1)
        self._q.addr_(c, c, alpha=-f)
