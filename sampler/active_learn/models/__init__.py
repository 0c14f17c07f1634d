"""Models: one file per kind, each turned into an `Adapter`."""

from .adapt import adapt
from .base import BLOCK_ROWS, Adapter, LinearHead, ModelOutput

__all__ = ["BLOCK_ROWS", "Adapter", "LinearHead", "ModelOutput", "adapt"]
