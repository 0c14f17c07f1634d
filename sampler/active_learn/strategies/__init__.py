"""Strategies, one a file: importing this package registers them all."""

from . import (  # noqa: F401  (importing registers)
    aopt,
    auto,
    badge,
    bait,
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
from .base import Anchors, Context, Picks, Strategy, build_strategy, strategies

__all__ = ["Anchors", "Context", "Picks", "Strategy", "build_strategy", "strategies"]
