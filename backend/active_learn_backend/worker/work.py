"""What all work in the background of a worker needs."""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ..learning.engines.base import Engine
from ..settings import Settings
from ..state.folders import make_private_folder, training_folder
from ..state.store import Store

__all__ = ["Work", "alone"]


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


@contextmanager
def alone(settings: Settings, project_id: int, kind: str) -> Iterator[None]:
    """Hold a project's lock of a kind of work, so that no other process does the same.

    Raises
    ------
    BlockingIOError
        When another one has it.
    """
    folder = training_folder(settings, project_id)
    make_private_folder(folder)
    descriptor = os.open(folder / f"{kind}.lock", os.O_WRONLY | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
