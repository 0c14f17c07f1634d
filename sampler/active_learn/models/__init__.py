"""Models: one file per kind, each turned into an `Adapter`."""

from .base import Adapter, LinearHead, ModelOutput

__all__ = ["Adapter", "LinearHead", "ModelOutput"]
