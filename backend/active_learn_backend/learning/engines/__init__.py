"""Where the heavy work of a round is done: on this machine, or on a Ray cluster."""

from __future__ import annotations

from .base import Engine, ProjectTasks
from .configured import configured_engine
from .local import LocalEngine

__all__ = ["Engine", "LocalEngine", "ProjectTasks", "configured_engine"]
