"""Strategies, one per file; importing this package registers all of them."""

from . import (  # noqa: F401  (importing registers)
    aopt,
    auto,
    badge,
    bait,
    coverage,
    entropy,
    kcenter,
    least_confidence,
    logdet,
    margin,
    medoids,
    random,
    typiclust,
    vessal,
)
from .base import (
    Context,
    PoolSummary,
    Selection,
    Strategy,
    build_strategy,
    parameters_of,
    strategies,
)

__all__ = [
    "Context",
    "PoolSummary",
    "Selection",
    "Strategy",
    "build_strategy",
    "parameters_of",
    "strategies",
]
