"""Points whose gains are kept up to date at the cost of one column per conditioned row."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..models import BLOCK_ROWS
from .kernels import Points
from .posterior import Posterior

__all__ = ["Step", "Tracked"]

# Gains stay above 0, so that a gain over the mean gain is a number where nothing is left to gain.
LEAST_GAIN = 1e-300


@dataclass(frozen=True)
class Step:
    """One more point that is conditioned on.

    Attributes
    ----------
    point : Points
        The point.
    z : Tensor of shape (R, |S|)
        What `Posterior.whiten` returns for it before the step.
    factor : Tensor of shape (R, R), or float where R = 1
        Lower Cholesky factor of its ``λ (I + Q)`` before the step.
    """

    point: Points
    z: torch.Tensor
    factor: torch.Tensor | float

    @classmethod
    def of(cls, posterior: Posterior, point: Points, z: torch.Tensor, gain: float) -> Step:
        """Return the step that conditions on a point with some gain."""
        if point.rank == 1:
            return cls(point, z, (posterior.ridge * (1 + gain)) ** 0.5)
        own = posterior.variance(point, z)[0].mul_(posterior.ridge)
        own.diagonal().add_(posterior.ridge)
        factor, failed = torch.linalg.cholesky_ex(own)
        # An outlier's covariance may come out indefinite by rounding, its diagonal never does.
        return cls(point, z, torch.diag(own.diagonal().sqrt()) if failed else factor)


class Tracked:
    """Points whose gains are kept up to date while further points are conditioned on.

    Parameters
    ----------
    posterior : Posterior
    points : Points
        n of them.
    room : int
        Rows that will be conditioned on later, at most.

    Attributes
    ----------
    gain : Tensor of shape (n,), float64
        ``tr(uᵀ M u)`` of each point that `fill` has computed, above 0.
    """

    def __init__(self, posterior: Posterior, points: Points, room: int) -> None:
        self._posterior = posterior
        self.points = points
        self._rank = points.rank
        # One row per conditioned row: a further one is then written in one piece.
        self._z = points.h.new_empty(posterior.size + room, len(points) * self._rank)
        self._used = posterior.size
        self.gain = torch.zeros(len(points), dtype=torch.float64, device=points.h.device)

    @property
    def z(self) -> torch.Tensor:
        """What `Posterior.whiten` returns for the points, (n * R, |S|)."""
        return self._z[: self._used].T

    @classmethod
    def of_labeled(cls, posterior: Posterior, labeled: Points | None, room: int) -> Tracked | None:
        """Return the labeled data as tracked points, None where there is none."""
        if labeled is None or not len(labeled):
            return None
        past = cls(posterior, labeled, room * labeled.rank)
        past.fill(slice(0, len(labeled)))
        return past

    def fill(self, rows: slice | torch.Tensor) -> None:
        """Compute the gains of some points from the present posterior."""
        x = self.points[rows]
        z = self._posterior.whiten(x)
        self._used = used = z.shape[1]
        self._z.view(-1, len(self.points), self._rank)[:used, rows] = z.T.view(
            used, len(x), self._rank
        )
        trace = self._posterior.variance(x, z).diagonal(dim1=1, dim2=2).sum(dim=1)
        self.gain[rows] = trace.double().clamp_min_(LEAST_GAIN)

    def replace(self, slots: torch.Tensor, points: Points) -> None:
        """Replace some of the points."""
        self.points.h[slots] = points.h
        if self.points.a is not None and points.a is not None:
            self.points.a[slots] = points.a
        self.fill(slots)

    def step(self, index: int) -> Step:
        """Return the step that conditions on one of the points."""
        z = self.z[index * self._rank : (index + 1) * self._rank].clone()
        gain = float(self.gain[index])
        return Step.of(self._posterior, self.points[index : index + 1], z, gain)

    def columns(self, points: Points, z: torch.Tensor, stop: int) -> torch.Tensor:
        """Return ``λ u_iᵀ M u_j`` of some points with the first ``stop``, (m * R, stop * R).

        ``z`` is what `Posterior.whiten` returns for those points.
        """
        columns = self._z.new_empty(len(points) * self._rank, stop * self._rank)
        for block, x in self.points[:stop].split(BLOCK_ROWS):
            rows = slice(block.start * self._rank, block.stop * self._rank)
            gram = self._posterior.kernel.gram(points, x)
            torch.addmm(gram, z, self._z[: z.shape[1], rows], alpha=-1, out=columns[:, rows])
        return columns

    def columns_of(self, indices: torch.Tensor, stop: int) -> list[tuple[torch.Tensor, int]]:
        """Return ``columns`` and ``since``, as `condition` takes them, of some of the points."""
        z = self._z.view(-1, len(self.points), self._rank)[: self._used, indices].flatten(1).T
        columns = self.columns(self.points[indices], z, stop)
        return [(column, self._used) for column in columns.split(self._rank)]

    def condition(
        self, step: Step, stop: int, columns: torch.Tensor | None = None, since: int = 0
    ) -> None:
        """Update the first ``stop`` points for one more conditioned point.

        ``columns`` may be those of an earlier time, when ``since`` rows were conditioned on.
        """
        z, known, rows = step.z, step.z.shape[1], slice(0, stop * self._rank)
        new = self._z[known : known + self._rank, rows]
        if columns is None:
            columns = self.columns(step.point, z, stop)
        elif since < known:
            columns = columns.addmm(z[:, since:], self._z[since:known, rows], alpha=-1)
        if isinstance(step.factor, float):
            torch.div(columns, step.factor, out=new)
            lost = new[0].square()
        else:
            new.copy_(torch.linalg.solve_triangular(step.factor, columns, upper=False))
            lost = new.square().sum(dim=0).view(stop, self._rank).sum(dim=1)
        self._used = known + self._rank
        self.gain[:stop].sub_(lost, alpha=1 / self._posterior.ridge).clamp_min_(LEAST_GAIN)
