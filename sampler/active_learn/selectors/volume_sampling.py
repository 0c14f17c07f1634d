"""Volume sampling of a sequence: VeSSAL in Gram form, exact and thinned.

Candidate t is kept with probability ``rate · q_t / (T / n)``: its gain ``q_t = tr(u_tᵀ M u_t)``
against the mean gain of the n samples that have passed, itself and the labeled data included.
``T = Σ q`` is ``tr(Σ_t M)`` without any matrix, and each kept candidate lowers it by
``Σ_past |z_new|² / λ``.

References
----------
Saran et al., "Streaming Active Learning with Deep Neural Networks", ICML 2023, algorithm 1.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from ..inputs.pool import Pool
from ..models import BLOCK_ROWS
from ..posterior.columns import ColumnCache
from ..posterior.incremental import Step, Tracked
from ..posterior.kernels import FisherKernel, Points
from ..posterior.posterior import Posterior
from .reservoir import reservoir_slots

__all__ = ["ThinnedVolumeSampler", "VolumeSampler"]

RESERVOIR = 4096
# Candidates that pass the screen are evaluated so many at a time: the first one kept ends it.
EVALUATED = 64
# Columns of the Gram matrix that one pass over what has passed fetches.
AHEAD = 16


class VolumeSampler:
    """The exact form, with all factors and their conditioned columns in memory.

    Parameters
    ----------
    points : Points
        The N candidates, in the order in which they pass.
    posterior : Posterior
        Conditioned on the labeled data; it is not changed.
    labeled : Points, optional
        The labeled data, which counts as passed.
    block_rows : int, optional
        Candidates that are evaluated at once; it changes the time only.

    Attributes
    ----------
    posterior : Posterior
        Conditioned on the labeled data and on what `sample` kept.

    Notes
    -----
    Memory: 4 N R (d + K + |S| + k) bytes; time: k passes over what has passed.
    """

    def __init__(
        self,
        points: Points,
        posterior: Posterior,
        labeled: Points | None,
        block_rows: int | None = None,
    ) -> None:
        self._points = points
        # Each pick updates the rest of its block too, which is small against what has passed.
        self._block_rows = block_rows or max(512, len(points) // 8)
        # Kept samples are never dropped: past gains would be wrong.
        self.posterior = posterior.unbounded()
        self._labeled = labeled
        self._kept: list[int] = []

    def sample(
        self, k: int, uniforms: torch.Tensor, precompute: bool
    ) -> tuple[list[int], list[float]]:
        """Return k candidates and their gains.

        Parameters
        ----------
        k : int
        uniforms : Tensor of shape (N,), float64
            One number in [0, 1) per candidate.
        precompute : bool
            Compare with the mean over all candidates and labeled data, not over what has passed.

        Returns
        -------
        indices : list of int, ascending
        gains : list of float
            The gain of each when it was kept.
        """
        n, room = len(self._points), k * self._points.rank
        pool = Tracked(self.posterior, self._points, room)
        past = Tracked.of_labeled(self.posterior, self._labeled, k)
        n_past = 0 if past is None else len(past.points)
        block_rows = n if precompute else self._block_rows
        t = torch.arange(n).to(pool.gain)
        # Kept where limit · (Σ of the gains that have passed) < (still wanted) · (own gain).
        limit = uniforms.to(t) * (n - t) / (n_past + (n if precompute else t + 1))
        total = 0.0 if past is None else float(past.gain.sum())
        picked: list[int] = []
        gains: list[float] = []
        for start in range(0, n, block_rows):
            stop = min(start + block_rows, n)
            self._columns = ColumnCache(partial(pool.columns_of, stop=stop), keep=n)
            self._catch_up()
            for rows in range(start, stop, BLOCK_ROWS):
                pool.fill(slice(rows, min(rows + BLOCK_ROWS, stop)))
            at = start
            while at < stop and len(picked) < k:
                wanted, gain = k - len(picked), pool.gain[at:stop]
                passed = pool.gain.sum() if precompute else gain.cumsum(0)
                kept = (limit[at:stop] * passed.add_(total) < gain * wanted).nonzero()[:, 0] + at
                # Once as many candidates are left as are wanted, all are kept.
                new = min(int(kept[0]) if len(kept) else stop, n - wanted)
                if new >= stop:
                    total += 0.0 if precompute else float(gain.sum())
                    break
                picked.append(new)
                gains.append(float(pool.gain[new]))
                self._keep(new, kept, pool, past, stop)
                at = new + 1
                total = 0.0 if past is None else float(past.gain.sum())
                if not precompute:
                    total += float(pool.gain[:at].sum())
            if len(picked) == k:
                break
        self._catch_up()
        return picked, gains

    def _keep(
        self, new: int, soon: torch.Tensor, pool: Tracked, past: Tracked | None, stop: int
    ) -> None:
        """Condition on a candidate; those that would be kept now are likely kept next."""
        if new not in self._columns:
            later = [i for i in soon[:AHEAD].tolist() if i > new and i not in self._columns]
            self._columns.fetch(torch.tensor([new, *later], device=pool.gain.device))
        step = pool.step(new)
        pool.condition(step, stop, *self._columns.pop(new))
        if past is not None:
            past.condition(step, len(past.points))
        self._kept.append(new)

    def _catch_up(self) -> None:
        """Condition the posterior on the samples kept since the last call."""
        if self._kept:
            self.posterior.condition(self._points[torch.tensor(self._kept)])
            self._kept = []


class ThinnedVolumeSampler:
    """The thinned form: one pass, in memory that does not grow with the pool.

    The mean gain of what has passed is estimated on a uniform reservoir, which takes in each block
    once it is decided. As ``q ≤ |a|² |h|² / λ`` and `FisherKernel.output_bound` bounds ``|a|²``,
    only candidates whose uniform number is under that bound are evaluated, logits included.

    Parameters
    ----------
    pool : Pool
    posterior : Posterior
        Conditioned on the labeled data; it is not changed.
    labeled : Points, optional
        The labeled data, which counts as passed.
    k : int
        Candidates to keep.
    rng : numpy.random.Generator
        Draws the reservoir.

    Attributes
    ----------
    posterior : Posterior
        Conditioned on the labeled data and on what `sample` kept.
    """

    def __init__(
        self,
        pool: Pool,
        posterior: Posterior,
        kernel: FisherKernel,
        labeled: Points | None,
        k: int,
        rng: np.random.Generator,
    ) -> None:
        self.posterior = posterior = posterior.unbounded()
        self._pool, self._kernel, self._rng = pool, kernel, rng
        self._k = k
        self._past = Tracked.of_labeled(posterior, labeled, k)
        # Slots that hold no sample yet are copies of the first candidate; `_seen` tells them apart.
        sample = kernel.points(pool.take(np.zeros(1, dtype=np.int64)))
        empty = torch.zeros(min(RESERVOIR, len(pool)), dtype=torch.int64, device=pool.device)
        self._reservoir = Tracked(posterior, sample[empty], k * sample.rank)
        self._seen = 0

    def sample(self, uniforms: torch.Tensor) -> tuple[list[int], list[float]]:
        """Return k candidates and their gains, given one number in [0, 1) for each of the pool.

        Returns
        -------
        indices : list of int, ascending
        gains : list of float
        """
        picked: list[int] = []
        gains: list[float] = []
        for rows, norms in self._pool.norms(growing_from=64):
            bound = (norms.double() / self._kernel.scale).square()
            bound *= self._kernel.output_bound / self.posterior.ridge
            at = 0
            while at < len(bound) and len(picked) < self._k:
                left = len(self._pool) - rows.start - at
                found = self._next(
                    rows.start + at, bound[at:], uniforms, self._k - len(picked), left
                )
                if found is None:
                    break
                index, gain = found
                picked.append(index)
                gains.append(gain)
                at = index + 1 - rows.start
            if len(picked) == self._k:
                break
            self._take_in(rows)
        return picked, gains

    def _next(
        self, start: int, bound: torch.Tensor, uniforms: torch.Tensor, wanted: int, left: int
    ) -> tuple[int, float] | None:
        """Return the next candidate of a block that is kept, after conditioning on it."""
        u = uniforms[start : start + len(bound)].to(bound)
        remaining = left - torch.arange(len(bound)).to(bound)
        total, n_past = self._passed()
        # With nothing passed yet a candidate is compared with itself alone: none is screened out.
        mean = total / n_past if n_past else 0.0
        maybe = (u * mean <= wanted / remaining * bound) | (remaining <= wanted)
        for rows in maybe.nonzero()[:, 0].split(EVALUATED):
            x = self._kernel.points(self._pool.take(rows + start))
            z = self.posterior.whiten(x)
            gain = self.posterior.variance(x, z).diagonal(dim1=1, dim2=2).sum(dim=1).double()
            mean_with_own = (total + gain) / (n_past + 1)
            ratio = torch.where(mean_with_own > 0, gain / mean_with_own, torch.ones_like(gain))
            kept = (u[rows] < wanted / remaining[rows] * ratio) | (remaining[rows] <= wanted)
            if not bool(kept.any()):
                continue
            hit = int(kept.nonzero()[0, 0])
            point, own = x[hit : hit + 1], z[hit * x.rank : (hit + 1) * x.rank]
            self._keep(Step.of(self.posterior, point, own, float(gain[hit])))
            return start + int(rows[hit]), float(gain[hit])
        return None

    def _passed(self) -> tuple[float, int]:
        """Return the estimated sum of the gains of what has passed, and its number."""
        filled = min(self._seen, len(self._reservoir.points))
        total = float(self._reservoir.gain[:filled].mean()) * self._seen if filled else 0.0
        if self._past is None:
            return total, self._seen
        return total + float(self._past.gain.sum()), self._seen + len(self._past.points)

    def _keep(self, step: Step) -> None:
        filled = min(self._seen, len(self._reservoir.points))
        if filled:
            self._reservoir.condition(step, filled)
        if self._past is not None:
            self._past.condition(step, len(self._past.points))
        self.posterior.condition(step.point)

    def _take_in(self, rows: slice) -> None:
        """Add a block, all of which is decided, to the reservoir."""
        positions = np.arange(rows.start, rows.stop)
        uniforms = self._rng.random(len(positions))
        slots, chosen = reservoir_slots(positions, len(self._reservoir.points), uniforms)
        self._seen = rows.stop
        if len(slots):
            points = self._kernel.points(self._pool.take(positions[chosen]))
            self._reservoir.replace(torch.as_tensor(slots, device=points.h.device), points)
