"""Models: one file per kind, each turned into an `Adapter`."""

from .adapt import adapt
from .base import Adapter, LinearHead, ModelOutput

__all__ = ["Adapter", "LinearHead", "ModelOutput", "adapt"]
