"""Models that a process holds: each loaded once, whichever project or thread asks."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

__all__ = ["LoadedModels", "signature"]

Model = TypeVar("Model")


class LoadedModels:
    """Keeps the models used last.

    Parameters
    ----------
    capacity : int
        Models held; the one unused for longest goes first.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._models: OrderedDict[Any, Any] = OrderedDict()
        self._loading: dict[Any, threading.Lock] = {}

    def get(self, key: Any, load: Callable[[], Model]) -> Model:
        """Return the model of a key; `load` makes it, in one thread while others wait for it."""
        with self._lock:
            own = self._loading.setdefault(key, threading.Lock())
        with own:
            with self._lock:
                if key in self._models:
                    self._models.move_to_end(key)
                    return self._models[key]
            model = load()
            with self._lock:
                self._models[key] = model
                self._loading.pop(key, None)
                while len(self._models) > self._capacity:
                    self._models.popitem(last=False)
            return model


def signature(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Return name, size and time of change of a file, or of the files of a folder."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    stats = [(str(file), file.stat()) for file in files if file.is_file()]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats)
