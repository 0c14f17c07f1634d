"""Scorers of a stream: by logits alone, by the gain of a sample, by its A-optimal gain.

A scorer evaluates one block of candidates at a time, conditioned on all kept so far.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch

from ..models import ModelOutput
from ..posterior.fisher import uncertainty
from ..posterior.incremental import Tracked
from ..posterior.kernels import Kernel
from ..posterior.posterior import Posterior, pivoted_cholesky
from ..validation import Problem
from .a_optimal import a_optimal_gain

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
        """Replace some of the references."""

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

    def prune(self, known: ModelOutput, size: int) -> torch.Tensor:
        """Return the rows that pivoted Cholesky chooses."""
        points = self._kernel.points(known)
        return pivoted_cholesky(self._kernel, points, max(1, size // points.rank))

    def open(self, block: ModelOutput) -> None:
        """Compute the gains of the block."""
        points = self._kernel.points(block)
        self._block = Tracked(self._posterior, points, len(points) * points.rank)
        self._block.fill(slice(0, len(points)))

    def scores(self) -> torch.Tensor:
        """Return the gains."""
        return self._block.gain

    def keep(self, index: int) -> None:
        """Update the gains of the block."""
        step = self._block.step(index)
        for tracked in self._tracked():
            tracked.condition(step, len(tracked.points))
        self._posterior.condition(step.point)

    def _tracked(self) -> list[Tracked]:
        return [self._block]


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
        self._references = Tracked(self._posterior, points, room * points.rank)
        self._references.fill(slice(0, len(points)))
        self._weights = self._weights_of(references)

    def refer(self, slots: torch.Tensor, references: ModelOutput) -> None:
        """Replace some of the references."""
        self._references.replace(slots, self._kernel.points(references))
        self._weights[slots] = self._weights_of(references)

    def scores(self) -> torch.Tensor:
        """Return ``tr((I + Q)⁻¹ CᵀC)`` of each candidate, to the power of β."""
        x, r = self._block.points, self._references.points
        c = self._posterior.covariance(x, r, self._block.z, self._references.z)
        c = (c * self._weights.repeat_interleave(r.rank)).view(len(x), x.rank, -1)
        q = self._posterior.variance(x, self._block.z)
        return a_optimal_gain(q, c @ c.transpose(1, 2)).double() ** self._beta

    def _weights_of(self, references: ModelOutput) -> torch.Tensor:
        if self._weigh is None:
            return torch.ones_like(references.logits[:, 0])
        return uncertainty(references.logits, self._weigh)

    def _tracked(self) -> list[Tracked]:
        return [self._block, self._references]
