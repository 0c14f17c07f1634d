"""What all work in the background of a worker needs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from ..learning.engines.base import Engine
from ..settings import Settings
from ..state.store import Store

__all__ = ["Work"]


@dataclass(frozen=True)
class Work:
    """What all work in the background needs.

    Attributes
    ----------
    load : callable
        Returns the bytes of a file, from its address in a task.
    stopping : threading.Event
        Set when the worker has to stop.
    """

    settings: Settings
    store: Store
    load: Callable[..., bytes]
    engine: Engine
    stopping: threading.Event
