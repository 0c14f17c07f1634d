"""Scorers of a stream: by logits alone, by the gain of a sample, by its A-optimal gain.

A scorer evaluates one block of candidates at a time, conditioned on all kept so far. The products
with the samples kept before a block are computed once, when it is opened. What is kept of the block
itself is a rank-1 step on covariances within the block, and its cost does not depend on how many
were kept before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch

from ..models import ModelOutput
from ..posterior.fisher import uncertainty
from ..posterior.incremental import LEAST_GAIN
from ..posterior.kernels import Kernel, Points
from ..posterior.posterior import Posterior, pivoted_cholesky
from ..validation import Problem
from .a_optimal import a_optimal_gain, per_cost

__all__ = ["DesignScorer", "GainScorer", "LogitScorer", "Scorer"]


class Scorer(ABC):
    """Scores of the candidates of a stream, never below 0.

    Attributes
    ----------
    references : int
        Past samples that represent the stream, which keeps a uniform reservoir of that size.
    conditions : bool
        Whether scores depend on what is known.
    """

    references = 0
    conditions = False

    def start(  # noqa: B027 (what depends on logits alone has nothing to condition)
        self, known: ModelOutput | None, references: ModelOutput | None, room: int
    ) -> None:
        """Condition on the known samples anew; at most ``room`` samples are kept later."""

    def refer(self, slots: torch.Tensor, references: ModelOutput) -> None:  # noqa: B027
        """Replace some of the references; slots behind the last one are new."""

    def prune(self, known: ModelOutput, size: int) -> torch.Tensor:
        """Return ``size`` rows to keep: any rows where scores do not depend on known samples."""
        return torch.arange(size)

    @abstractmethod
    def open(self, block: ModelOutput) -> None:
        """Begin with the next block of candidates."""

    @abstractmethod
    def scores(self) -> torch.Tensor:
        """Return the present scores of the block, (n,)."""

    def keep(self, index: int) -> None:  # noqa: B027
        """Condition on one candidate of the open block."""


class LogitScorer(Scorer):
    """Scores that depend on a sample's logits alone.

    Parameters
    ----------
    score : callable
        Returns (n,) scores of (n, K) logits.
    beta : float
        Power to which scores are raised.
    """

    def __init__(self, score: Callable[[torch.Tensor], torch.Tensor], beta: float = 1.0) -> None:
        self._score = score
        self._beta = beta

    def open(self, block: ModelOutput) -> None:
        """Score the block."""
        self._scores = self._score(block.logits).double() ** self._beta

    def scores(self) -> torch.Tensor:
        """Return the scores."""
        return self._scores


class GainScorer(Scorer):
    """The gain ``tr(uᵀ M u)`` of each candidate: volume sampling (VeSSAL).

    Parameters
    ----------
    kernel : Kernel
    ridge : float
        λ.
    """

    conditions = True

    def __init__(self, kernel: Kernel, ridge: float) -> None:
        self._kernel = kernel
        self._ridge = ridge

    def start(self, known: ModelOutput | None, references: ModelOutput | None, room: int) -> None:
        """Condition on the known samples."""
        points = None if known is None else self._kernel.points(known)
        self._posterior = Posterior(self._kernel, self._ridge, points)
        self._block: Points | None = None
        self._kept: list[int] = []  # of the block, with which the posterior is still to be made

    def prune(self, known: ModelOutput, size: int) -> torch.Tensor:
        """Return the rows that pivoted Cholesky chooses."""
        points = self._kernel.points(known)
        return pivoted_cholesky(self._kernel, points, max(1, size // points.rank))

    def open(self, block: ModelOutput) -> None:
        """Compute the covariances of the block."""
        self._settle()
        self._block = x = self._kernel.points(block)
        self._z = self._posterior.whiten(x)
        self._covariance = self._posterior.covariance(x, x, self._z, self._z)

    def scores(self) -> torch.Tensor:
        """Return the gains."""
        gain = self._own().diagonal(dim1=1, dim2=2).sum(dim=1)
        return gain.double().clamp_min_(LEAST_GAIN)

    def keep(self, index: int) -> None:
        """Update the covariances of the block."""
        assert self._block is not None
        rank = self._block.rank
        rows = slice(index * rank, (index + 1) * rank)
        own = torch.eye(rank).to(self._covariance) + self._covariance[rows, rows]
        factor, failed = torch.linalg.cholesky_ex(own)
        if failed:  # an outlier's covariance may come out indefinite by rounding
            factor = own.diagonal().clamp_min(1).sqrt().diag()
        self._step(rows, factor)
        self._kept.append(index)

    def _step(self, rows: slice, factor: torch.Tensor) -> torch.Tensor:
        """Condition on some rows of the block; return ``L⁻¹`` times their covariances with it.

        ``factor`` is the lower Cholesky factor L of their ``I + Q``.
        """
        step = torch.linalg.solve_triangular(factor, self._covariance[rows], upper=False)
        self._covariance.addmm_(step.T, step, alpha=-1)
        return step

    def _own(self) -> torch.Tensor:
        """Return each candidate's covariance with itself, (n, R, R)."""
        assert self._block is not None
        n, rank = len(self._block), self._block.rank
        own = self._covariance.view(n, rank, n, rank).diagonal(dim1=0, dim2=2)
        return own.permute(2, 0, 1).clamp_min(0) if rank == 1 else own.permute(2, 0, 1)

    def _settle(self) -> None:
        """Close the block: condition the posterior on what was kept of it, in one product."""
        if self._block is not None and self._kept:
            rows = torch.tensor(self._kept)
            of_rank = self._z.view(len(self._block), self._block.rank, -1)
            self._posterior.extend(self._block[rows], of_rank[rows].flatten(0, 1))
        self._block, self._kept = None, []


class DesignScorer(GainScorer):
    """The A-optimal gain of each candidate over a reservoir of past samples.

    Parameters
    ----------
    kernel : Kernel
    ridge : float
        λ.
    weigh : {'classification', 'regression', 'multilabel'} or tuple of Output, optional
        Weigh each reference by the model's uncertainty, for that problem type.
    beta : float
        Power to which gains are raised.
    """

    references = 1000

    def __init__(self, kernel: Kernel, ridge: float, weigh: Problem | None, beta: float) -> None:
        super().__init__(kernel, ridge)
        self._beta = beta
        self._weigh = weigh

    def start(self, known: ModelOutput | None, references: ModelOutput | None, room: int) -> None:
        """Condition on the known samples and set the references."""
        super().start(known, references, room)
        assert references is not None
        points = self._kernel.points(references)
        # Rows of z by reference: one per conditioned row, so that a further one is written in one
        # piece.
        rows = self._posterior.size + room * points.rank
        self._z_r = points.h.new_empty(rows, self.references * points.rank)
        self._points = points[:0]
        self._weights = points.h.new_empty(0)
        self.refer(torch.arange(len(points)), references)

    def refer(self, slots: torch.Tensor, references: ModelOutput) -> None:
        """Replace some of the references; slots behind the last one are new."""
        self._settle()
        points, weights = self._kernel.points(references), self._weights_of(references)
        new = slots >= len(self._points)
        if new.any():
            self._points = self._points.cat(points[new])
            self._weights = torch.cat([self._weights, weights[new]])
        self._points.h[slots], self._weights[slots] = points.h, weights
        if self._points.a is not None and points.a is not None:
            self._points.a[slots] = points.a
        columns = (slots[:, None] * points.rank + torch.arange(points.rank)).flatten()
        self._z_r[: self._posterior.size, columns] = self._posterior.whiten(points).T

    def open(self, block: ModelOutput) -> None:
        """Compute the covariances of the block with itself and with the references."""
        super().open(block)
        assert self._block is not None
        self._costs = block.costs
        self._used = self._posterior.size
        z_r = self._z_r[: self._used, : len(self._points) * self._points.rank].T
        self._cross = self._posterior.covariance(self._block, self._points, self._z, z_r)

    def scores(self) -> torch.Tensor:
        """Return ``tr((I + Q)⁻¹ CᵀC)`` of each candidate, to the power of β."""
        assert self._block is not None
        n, rank = len(self._block), self._block.rank
        c = (self._cross * self._weights.repeat_interleave(rank)).view(n, rank, -1)
        gain = a_optimal_gain(self._own(), c @ c.transpose(1, 2))
        return per_cost(gain, self._costs).double() ** self._beta

    def _step(self, rows: slice, factor: torch.Tensor) -> torch.Tensor:
        across = torch.linalg.solve_triangular(factor, self._cross[rows], upper=False)
        step = super()._step(rows, factor)
        self._cross.addmm_(step.T, across, alpha=-1)
        end = self._used + len(across)
        self._z_r[self._used : end, : across.shape[1]] = across * self._ridge**0.5
        self._used = end
        return step

    def _weights_of(self, references: ModelOutput) -> torch.Tensor:
        if self._weigh is None:
            return torch.ones_like(references.logits[:, 0])
        return uncertainty(references.logits, self._weigh)
