"""Reservoir sampling: every sample of the stream is as likely to be kept."""

from __future__ import annotations

import numpy as np
import pytest
from active_learn.selectors.reservoir import reservoir_slots


def sample(n: int, size: int, rng: np.random.Generator, chunk: int) -> np.ndarray:
    held = np.full(size, -1)
    for start in range(0, n, chunk):
        positions = np.arange(start, min(start + chunk, n))
        slots, rows = reservoir_slots(positions, size, rng.random(len(positions)))
        assert (np.diff(slots) > 0).all()
        held[slots] = positions[rows]
    return held


def test_the_first_samples_fill_it_in_order() -> None:
    assert sample(8, 8, np.random.default_rng(0), 3).tolist() == list(range(8))
    assert sample(3, 8, np.random.default_rng(0), 2).tolist() == [0, 1, 2, -1, -1, -1, -1, -1]


def test_of_several_samples_for_one_slot_the_last_stays() -> None:
    slots, rows = reservoir_slots(np.arange(4, 8), 2, np.array([0.0, 0.99, 0.1, 0.2]))
    assert slots.tolist() == [0, 1]  # floor(u * (t + 1)): 0, 5, 0, 1
    assert rows.tolist() == [2, 3]


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_every_sample_is_as_likely(chunk: int) -> None:
    rng, n, size, repeats = np.random.default_rng(chunk), 40, 10, 2000
    counts = np.zeros(n)
    for _ in range(repeats):
        counts[sample(n, size, rng, chunk)] += 1
    expected = repeats * size / n
    assert np.abs(counts - expected).max() < 5 * np.sqrt(expected * (1 - size / n))
