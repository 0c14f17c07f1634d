"""Choice of the engine by the settings."""

from __future__ import annotations

from ...labeling.config import LabelingTask
from ...security_checks import require_engine
from ...settings import Settings
from .base import Engine
from .local import LocalEngine

__all__ = ["configured_engine", "engine_for"]


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


def engine_for(task: LabelingTask, engine: Engine) -> Engine:
    """Return what embeds and ranks a labeling task: parts of tasks stay on this machine."""
    return LocalEngine() if task.regions else engine
