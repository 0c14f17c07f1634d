"""Choice of the engine by the settings."""

from __future__ import annotations

from ...security_checks import require_engine
from ...settings import Settings
from .base import Engine
from .local import LocalEngine

__all__ = ["configured_engine"]


def configured_engine(settings: Settings) -> Engine:
    """Return the engine of the setting ``engine``; nothing is started yet.

    Raises
    ------
    MissingOptionalDependencyError
        When it is Ray, and Ray is not installed.
    """
    if settings.engine == "local":
        return LocalEngine()
    require_engine(settings)
    from .ray.engine import RayEngine

    return RayEngine(settings)
