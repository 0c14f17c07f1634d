"""Inner products between samples: the Fisher (product) kernel and the radial kernel.

A kernel turns model outputs into `Points` once, and then computes Gram blocks. A point has R rows
(its Fisher factors), so the Gram matrix of n and m points is (n * R, m * R).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import torch

from ..models import ModelOutput
from ..models.base import cat_filled
from ..validation import AnyProblemType, Problem, types_of
from .fisher import Side, output_factors

__all__ = ["FisherKernel", "Kernel", "Points", "RadialKernel"]


@dataclass(frozen=True)
class Points:
    """Samples as a kernel sees them.

    Attributes
    ----------
    h : Tensor of shape (n, d)
        Embedding side.
    a : Tensor of shape (n, R, K), optional
        Output side; None stands for a = 1 with R = 1.
    noise : Tensor of shape (n,), optional
        Variance of each label's noise, in units of the ridge; None stands for 1.
    """

    h: torch.Tensor
    a: torch.Tensor | None = None
    noise: torch.Tensor | None = None

    def __len__(self) -> int:
        return self.h.shape[0]  # len() of a tensor takes five times as long

    @property
    def rank(self) -> int:
        """Rows per point, R."""
        return 1 if self.a is None else self.a.shape[1]

    def __getitem__(self, rows: slice | torch.Tensor) -> Points:
        a = None if self.a is None else self.a[rows]
        return Points(self.h[rows], a, None if self.noise is None else self.noise[rows])

    def cat(self, other: Points) -> Points:
        """Return these points followed by the other's."""
        a = None if self.a is None or other.a is None else torch.cat([self.a, other.a])
        both = (self, other)
        noise = cat_filled(
            [one.noise for one in both], lambda at: both[at].h.new_ones(len(both[at]))
        )
        return Points(torch.cat([self.h, other.h]), a, noise)

    def double(self) -> Points:
        """Return these points in float64."""
        parts = (self.a, self.noise)
        return Points(self.h.double(), *(None if part is None else part.double() for part in parts))

    def split(self, rows: int) -> Iterator[tuple[slice, Points]]:
        """Yield blocks of at most ``rows`` points, each with its slice."""
        for start in range(0, len(self), rows):
            block = slice(start, min(start + rows, len(self)))
            yield block, self[block]


class Kernel(Protocol):
    """Symmetric positive semi-definite inner products of points."""

    @property
    def uses_logits(self) -> bool:
        """Whether points depend on the logits."""
        ...

    def points(self, output: ModelOutput) -> Points:
        """Return the points of model outputs."""
        ...

    def gram(self, x: Points, y: Points, out: torch.Tensor | None = None) -> torch.Tensor:
        """Return the (len(x) * R, len(y) * R) inner products, written to ``out`` where given."""
        ...

    def own(self, x: Points) -> torch.Tensor:
        """Return each point's inner products with itself, (len(x), R, R)."""
        ...


@dataclass(frozen=True)
class FisherKernel:
    """``(a_i · a_j)(h_i · h_j)``: inner products of last-layer gradients, never formed.

    Parameters
    ----------
    problem_type : {'classification', 'regression', 'multilabel'} or tuple of Output
    side : {'fisher', 'gradient', 'none'}
        The output factor, see `output_factors`; 'none' leaves ``h_i · h_j``.
    rank : int
        Factors per sample.
    scale : float
        Embeddings are divided by it. The root mean square norm of the pool makes designs
        independent of the unit of the embeddings.
    """

    problem_type: Problem
    side: Side | None = "fisher"
    rank: int = 1
    scale: float = 1.0

    @property
    def uses_logits(self) -> bool:
        """Whether points depend on the logits."""
        return self.side is not None and set(types_of(self.problem_type)) != {"regression"}

    @property
    def output_bound(self) -> float:
        """The upper bound of ``tr(aᵀa)`` over all logits."""
        if self.side is None:
            return 1.0
        return sum(self._bound_of(kind) for kind in types_of(self.problem_type))

    def _bound_of(self, problem_type: AnyProblemType) -> float:
        if problem_type == "regression":
            return 1.0
        if problem_type == "multilabel":
            # |ŷ − p|² ≤ K / 4 for a gradient has no bound without K.
            return float("inf") if self.side == "gradient" else 0.25 * self.rank
        if self.side == "gradient":
            return 2.0
        # Likeliest class y: |a|² = p_y (1 − 2 p_y + |p|²) ≤ p_y (1 − p_y), as |p|² ≤ p_y.
        # All classes: 1 − |p|².
        return 0.25 if self.rank == 1 else 1.0

    def points(self, output: ModelOutput) -> Points:
        """Return the points of model outputs."""
        h, a = output.embedding, None
        if self.side is not None:
            a = output_factors(output.logits, self.problem_type, side=self.side, rank=self.rank)
        if a is None or not 1e-6 < self.scale < 1e6:  # squares stay in the range of float32
            return Points(h / self.scale, a, output.noise)
        # The same products, without a copy of h.
        return Points(h, a.div_(self.scale), output.noise)

    def gram(self, x: Points, y: Points, out: torch.Tensor | None = None) -> torch.Tensor:
        """Return the (len(x) * R, len(y) * R) inner products, written to ``out`` where given."""
        if x.a is None or y.a is None:
            return torch.mm(x.h, y.h.T, out=out)
        if x.rank == y.rank == 1:
            return torch.mm(x.h, y.h.T, out=out).mul_(x.a[:, 0] @ y.a[:, 0].T)
        outputs = torch.mm(x.a.flatten(0, 1), y.a.flatten(0, 1).T, out=out)
        blocks = outputs.view(len(x), x.rank, len(y), y.rank)
        blocks.mul_((x.h @ y.h.T)[:, None, :, None])
        return outputs

    def own(self, x: Points) -> torch.Tensor:
        """Return each point's inner products with itself, (len(x), R, R)."""
        norm = torch.linalg.vector_norm(x.h, dim=1).square_()[:, None, None]
        return norm if x.a is None else norm * (x.a @ x.a.transpose(1, 2))


@dataclass(frozen=True)
class RadialKernel:
    """``exp(γ(cos(h_i, h_j) − 1))``: similarity of the directions of two embeddings.

    Parameters
    ----------
    gamma : float
        Inverse width; the higher, the more local.
    """

    gamma: float = 4.0
    uses_logits: ClassVar[bool] = False
    tiny: float = field(default=1e-30, repr=False)

    def points(self, output: ModelOutput) -> Points:
        """Return points of unit norm (an embedding of zeros stays zero)."""
        h = output.embedding
        norm = torch.linalg.vector_norm(h, dim=1, keepdim=True)
        smallest, largest = norm.aminmax()
        if not (smallest > 1e-12 and largest < 1e12):
            # Scaled by the largest entry first, so that no square over- or underflows.
            h = h / h.abs().amax(dim=1, keepdim=True).clamp_min(self.tiny)
            norm = torch.linalg.vector_norm(h, dim=1, keepdim=True).clamp_min_(self.tiny)
        return Points(h / norm, noise=output.noise)

    def gram(self, x: Points, y: Points, out: torch.Tensor | None = None) -> torch.Tensor:
        """Return the (len(x), len(y)) inner products, written to ``out`` where given."""
        return torch.mm(x.h, y.h.T, out=out).sub_(1).mul_(self.gamma).exp_()

    def own(self, x: Points) -> torch.Tensor:
        """Return each point's inner product with itself, (len(x), 1, 1)."""
        squares = torch.linalg.vector_norm(x.h, dim=1).square_()
        return squares.sub_(1).mul_(self.gamma).exp_()[:, None, None]
