"""What replays are tested on: a sampler that remembers its calls, and small data."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from sklearn.datasets import load_digits

__all__ = ["NAMES", "FirstInPool", "blobs", "small_digits"]


class FirstInPool:
    """A sampler that takes the first of the pool, and remembers what it was given."""

    calls: list[SimpleNamespace] = []

    def __init__(self, problem_type, model, budget, **options):
        self.given = SimpleNamespace(
            problem_type=problem_type, model=model, budget=budget, **options
        )

    def rank(self, pool, n):
        self.given.pool = pool
        FirstInPool.calls.append(self.given)
        return SimpleNamespace(indices=np.arange(n))


def blobs(n=120, n_classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    centres = rng.normal(scale=3.0, size=(n_classes, 5))
    return (centres[y] + rng.normal(size=(n, 5))).astype(np.float32), y


NAMES = ("ant", "bee", "cat")


def small_digits(n=300):
    data = load_digits()
    return (data.data[:n] / 16).astype(np.float32), data.target[:n]
