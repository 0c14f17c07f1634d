"""The result of `ActiveSampler.rank`: an order of candidates, and the reasons for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Ranking"]


@dataclass(frozen=True)
class Ranking:
    """Candidates in the order in which they are worth labeling.

    Attributes
    ----------
    indices : ndarray of int64 of shape (n,)
        Positions in the pool, the most valuable first.
    scores : ndarray of float64 of shape (n,)
        Acquisition value of each: when it was picked, or, behind the greedy picks, after the last.
        Its unit is the strategy's own.
    uncertainty : ndarray of float64 of shape (n,)
        One minus the margin between the two likeliest classes, in [0, 1]; in multilabel the mean
        of ``1 - |2p - 1|``; 1 in regression.
    novelty : ndarray of float64 of shape (n,)
        Variance of a Gaussian process on the embeddings after the labeled data, relative to the
        one before, in [0, 1]: 1 is unlike anything labeled. Of more than 500 labeled samples the
        500 most informative.
    """

    indices: np.ndarray
    scores: np.ndarray
    uncertainty: np.ndarray
    novelty: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)
