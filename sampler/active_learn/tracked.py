"""Points whose gains are kept up to date at the cost of one column per conditioned row."""

from __future__ import annotations

import torch

from .gram import Posterior
from .kernels import Points

__all__ = ["Tracked"]


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
        ``tr(uᵀ M u)`` of each point that is `fill`-ed.
    """

    def __init__(self, posterior: Posterior, points: Points, room: int) -> None:
        self._posterior = posterior
        self.points = points
        self._rank = points.rank
        self._z = points.h.new_empty(len(points) * self._rank, posterior.size + room)
        self._used = posterior.size
        self.gain = torch.zeros(len(points), dtype=torch.float64, device=points.h.device)

    @property
    def z(self) -> torch.Tensor:
        """What `Posterior.whiten` gives of the points, (n * R, |S|)."""
        return self._z[:, : self._used]

    def z_of(self, index: int) -> torch.Tensor:
        """What `Posterior.whiten` gives of one point, (R, |S|)."""
        return self.z[index * self._rank : (index + 1) * self._rank]

    @classmethod
    def of_labeled(cls, posterior: Posterior, labeled: Points | None, room: int) -> Tracked | None:
        """Track the labeled data, where there is any."""
        if labeled is None or not len(labeled):
            return None
        past = cls(posterior, labeled, room * labeled.rank)
        past.fill(slice(0, len(labeled)))
        return past

    def fill(self, rows: slice | torch.Tensor) -> None:
        """Compute the gains of some points from the posterior as it is."""
        x = self.points[rows]
        z = self._posterior.whiten(x)
        self._used = z.shape[1]
        self._z.view(len(self.points), self._rank, -1)[rows, :, : z.shape[1]] = z.view(
            len(x), self._rank, -1
        )
        trace = self._posterior.variance(x, z).diagonal(dim1=1, dim2=2).sum(dim=1)
        self.gain[rows] = trace.double()

    def replace(self, slots: torch.Tensor, points: Points) -> None:
        """Put other points in place of some."""
        self.points.h[slots] = points.h
        if self.points.a is not None and points.a is not None:
            self.points.a[slots] = points.a
        self.fill(slots)

    def condition(self, point: Points, z: torch.Tensor, stop: int) -> None:
        """Take account of one more conditioned point, in the first ``stop`` points.

        ``z`` (R, |S|) is what `Posterior.whiten` gives of it before it is conditioned on.
        """
        kernel, ridge, rank = self._posterior.kernel, self._posterior.ridge, self._rank
        known, own = z.shape[1], kernel.own(point)[0] - z @ z.T
        # At least λ: an outlier's own variance may come out below 0 by rounding.
        own.diagonal().clamp_min_(0).add_(ridge)
        factor, failed = torch.linalg.cholesky_ex(own)
        if failed:
            factor = torch.diag(own.diagonal().sqrt())
        rows = slice(0, stop * rank)
        new = kernel.gram(self.points[:stop], point).addmm_(self._z[rows, :known], z.T, alpha=-1)
        if rank == 1:
            new /= factor
        else:
            new = torch.linalg.solve_triangular(factor, new.T, upper=False).T
        self._z[rows, known : known + rank] = new
        self._used = known + rank
        lost = new.square().view(stop, -1).sum(dim=1).double() / ridge
        self.gain[:stop].sub_(lost).clamp_min_(0)
