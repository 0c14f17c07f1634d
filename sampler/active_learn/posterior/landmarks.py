"""Conditioning on many labels through few landmarks among them.

The fully independent training conditional (FITC): with landmarks U and each label's own noise
``λ_n + k_nn − q_nn``, q being what the landmarks explain,

    Cov(i, j | labels) = k_ij − k_iU (K⁻¹ − (K + K_Un Λ⁻¹ K_nU)⁻¹) k_Uj,    K = k_UU

It costs what conditioning on the landmarks alone costs, once the labels were read, and all labels
count. Where the landmarks explain all labels it is exact.

References
----------
Snelson and Ghahramani, "Sparse Gaussian Processes using Pseudo-inputs", NIPS 2005.
Quiñonero-Candela and Rasmussen, "A Unifying View of Sparse Approximate Gaussian Process
Regression", JMLR 2005.
"""

from __future__ import annotations

import torch

from ..models import BLOCK_ROWS
from .kernels import Kernel, Points
from .posterior import Posterior

__all__ = ["condition_on_labels"]

# Rows of labeled samples that are conditioned on exactly, and landmarks for more of them.
EXACT = 1_000
LANDMARKS = 500
# Added to K, in units of its largest value: landmarks may be alike.
JITTER = 1e-6


def condition_on_labels(
    kernel: Kernel, ridge: float, labeled: Points | None, max_conditioned: int
) -> Posterior:
    """Return the posterior after the labels: exact up to 1,000 rows, by 500 landmarks of more.

    Parameters
    ----------
    kernel : Kernel
    ridge : float
    labeled : Points, optional
    max_conditioned : int
        Bound on both numbers of rows.

    Raises
    ------
    ParameterError
        When the ridge is lost in rounding.
    """
    if labeled is None or len(labeled) * labeled.rank <= min(EXACT, max_conditioned):
        return Posterior(kernel, ridge, labeled)
    size = max(1, min(LANDMARKS, max_conditioned) // labeled.rank)
    rows = torch.linspace(0, len(labeled) - 1, size, device=labeled.h.device).round().long()
    landmarks, posterior = labeled[rows], Posterior(kernel, ridge)
    exact = landmarks.double()
    gram = kernel.gram(exact, exact)
    gram.diagonal().add_(JITTER * float(gram.diagonal().max()))
    whitener = posterior.inverse_factor(gram)
    information = torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    for _, block in labeled.split(BLOCK_ROWS):
        some = block.double()
        explained = whitener @ kernel.gram(exact, some)
        own = kernel.own(some).diagonal(dim1=1, dim2=2).flatten()
        left = (own - explained.square().sum(dim=0)).clamp_min_(0)
        explained /= (left + posterior.noise(some)).sqrt()
        information.addmm_(explained, explained.T)
    inverse = posterior.inverse_factor(information)
    # I − (I + B)⁻¹, B being the information of the labels on what the landmarks explain.
    gained = torch.eye(len(gram)).to(gram) - inverse.T @ inverse
    posterior.through(landmarks, lower_root(whitener.T @ gained @ whitener))
    return posterior


def lower_root(matrix: torch.Tensor) -> torch.Tensor:
    """Return the lower triangular R with ``RᵀR`` = a matrix that is not below zero."""
    flipped = matrix.flip(0, 1)
    eye = torch.eye(len(matrix)).to(matrix) * flipped.diagonal().max()
    for tiny in (0.0, 1e-12, 1e-9, 1e-6):  # what no label says is zero up to rounding
        factor, failed = torch.linalg.cholesky_ex(flipped + tiny * eye)
        if not failed:
            break
    return factor.T.flip(0, 1)
