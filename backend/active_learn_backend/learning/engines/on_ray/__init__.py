"""The engine of a Ray cluster, or of Ray on this machine."""

from __future__ import annotations

from .engine import RayEngine

__all__ = ["RayEngine"]
