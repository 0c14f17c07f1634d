"""Strategies, one a file: importing this package registers them all."""

from . import (  # noqa: F401  (importing registers)
    aopt,
    auto,
    entropy,
    least_confidence,
    margin,
    medoids,
    random,
)
from .base import Context, Picks, Strategy, build_strategy, strategies

__all__ = ["Context", "Picks", "Strategy", "build_strategy", "strategies"]
