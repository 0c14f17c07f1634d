"""A pool of clusters, and samplers that rank it in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from active_learn import (
    ActiveSampler,
    LinearHead,
)
from active_learn.partitioned import (
    PartSelection,
)

RNG = np.random.default_rng(0)
HEAD = LinearHead(RNG.normal(size=(5, 16)), RNG.normal(size=5))
SUPPORTED = ("auto", "aopt", "bait", "logdet", "kcenter", "margin", "entropy", "least_confidence")


def clustered(n: int, seed: int, d: int = 16, spread: float = 0.7) -> np.ndarray:
    rng = np.random.default_rng(seed)
    centers = rng.normal(size=(30, d))
    points = centers[rng.integers(30, size=n)] + spread * rng.normal(size=(n, d))
    return points.astype(np.float32)


POOL, LABELED = np.split(clustered(860, 0), [800])


def make(strategy: str = "aopt", labeled: Any = LABELED, **arguments: Any) -> ActiveSampler:
    defaults = {"budget": 30, "random_state": 0, "seed_fisher": True, "labeled_data": labeled}
    arguments = {**defaults, **arguments}
    return ActiveSampler("classification", arguments.pop("model", HEAD), strategy=strategy,
                         **arguments)  # fmt: skip


def backwards(
    work: Callable[..., PartSelection], *columns: Iterable[Any]
) -> Iterable[PartSelection]:
    """Run the last part first."""
    done = [work(*row) for row in reversed(list(zip(*columns, strict=True)))]
    return reversed(done)


def same(one: Any, other: Any) -> None:
    assert np.array_equal(one.indices, other.indices)
    for name in ("scores", "uncertainty", "novelty"):
        np.testing.assert_allclose(
            getattr(one, name), getattr(other, name), rtol=1e-4, atol=1e-5, err_msg=name
        )
