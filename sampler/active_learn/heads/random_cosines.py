"""Random cosines: features in which a ridge regression is one with a Gaussian kernel.

References
----------
A. Rahimi, B. Recht: Random Features for Large-Scale Kernel Machines. NIPS 2007.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from .base import FloatArray

__all__ = ["N_COSINES", "RandomCosines"]

N_COSINES = 256
BLOCK_ROWS = 8192


@dataclass(frozen=True)
class RandomCosines:
    """``√(2/m) cos(W x / width + b)``, whose inner products are about those of a Gaussian kernel.

    Attributes
    ----------
    n_features : int
        Length of the vectors x.
    width : float
        Standard deviation of the kernel, in units of the vectors.
    """

    n_features: int
    width: float

    @property
    def drawn(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """W (n_features, 256) and b (256,)."""
        return _drawn(self.n_features)

    def __call__(self, vectors: FloatArray) -> FloatArray:
        """Return the features of vectors (n, n_features), (n, 256)."""
        directions, phases = _drawn(self.n_features)
        found = np.empty((len(vectors), N_COSINES), np.float32)
        for start in range(0, len(vectors), BLOCK_ROWS):
            rows = slice(start, start + BLOCK_ROWS)
            # float64: the cosine of a large number has no digits left in float32.
            angles = (vectors[rows].astype(np.float64) / self.width) @ directions + phases
            found[rows] = np.cos(angles) * (2 / N_COSINES) ** 0.5
        return found


@lru_cache(maxsize=8)
def _drawn(
    n_features: int,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return W (n_features, 256) and b (256,), the same for ever: saved heads rely on them.

    The streams of RandomState are frozen, those of newer generators may change with a release.
    """
    drawn = np.random.RandomState(0)
    directions = drawn.standard_normal((n_features, N_COSINES))
    return directions, drawn.uniform(0, 2 * np.pi, N_COSINES)
