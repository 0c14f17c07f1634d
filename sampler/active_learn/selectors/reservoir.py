"""Reservoir sampling: a uniform sample of fixed size of a stream of unknown length."""

from __future__ import annotations

import numpy as np

__all__ = ["reservoir_slots"]


def reservoir_slots(
    positions: np.ndarray, size: int, uniforms: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return which slots of a reservoir some samples of a stream replace (algorithm R).

    Parameters
    ----------
    positions : ndarray of int64 of shape (n,)
        Ascending positions of the samples in the stream.
    size : int
        Slots of the reservoir; the first samples fill them in order.
    uniforms : ndarray of float64 of shape (n,)
        One number in [0, 1) per sample; those of the first ``size`` samples have no effect.

    Returns
    -------
    slots : ndarray of int64, ascending and distinct
    rows : ndarray of int64
        Indices into ``positions`` of the samples for these slots. Of several samples for one slot
        it is the last.

    References
    ----------
    Vitter, "Random Sampling with a Reservoir", ACM TOMS 1985.
    """
    drawn = (uniforms * (positions + 1)).astype(np.int64)
    slots = np.where(positions < size, positions, drawn)
    slots, last = np.unique(slots[::-1], return_index=True)
    rows = len(positions) - 1 - last
    inside = slots < size
    return slots[inside], rows[inside]
