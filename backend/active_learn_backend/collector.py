"""Python's garbage collector, kept from what is imported."""

from __future__ import annotations

import atexit
import gc

__all__ = ["spare_imports"]


def spare_imports() -> None:
    """Have the collector run rarely, and not at the end of the process.

    What we import makes a million objects that stay. To look for garbage among them takes a fifth
    of the start, and at the end of a process a second, which is the most of its end.
    """
    gc.set_threshold(50_000, 20, 50)
    atexit.register(gc.freeze)
