"""Is a model worse than another one, or is that chance? A test of the answers to the same tasks."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import scipy  # scipy.stats is loaded when it is first used: it takes most of a second

from ...settings import RANDOM_STATE

__all__ = ["LEVEL", "p_worse"]

LEVEL = 0.05  # one-sided; above it a difference may be chance
DRAWS = 9_999


def p_worse(new: npt.NDArray[np.float64], former: npt.NDArray[np.float64]) -> float:
    """Return how likely losses differ so much, or more, if the new model is no worse.

    Right or wrong answers are compared by the exact test of McNemar (1947), other losses by a test
    that changes signs at random (Fisher 1935). Tasks with the same loss tell nothing.

    Parameters
    ----------
    new, former : arrays of shape (n,)
        The losses of two models on the same tasks.
    """
    difference = np.asarray(new - former, np.float64)
    difference = difference[difference != 0]
    if not len(difference):
        return 1.0
    sizes = np.abs(difference)
    if np.ptp(sizes) == 0:
        worse = int((difference > 0).sum())
        return float(scipy.stats.binomtest(worse, len(sizes), alternative="greater").pvalue)
    signs = np.random.default_rng(RANDOM_STATE).choice([-1.0, 1.0], (DRAWS, len(sizes)))
    as_much = signs @ sizes >= difference.sum() - 1e-9 * sizes.sum()
    return float((1 + as_much.sum()) / (1 + DRAWS))
