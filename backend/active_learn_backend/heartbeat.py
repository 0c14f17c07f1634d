"""The heartbeat of a child of `active-learn serve`: a file that it touches while it works."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["HEARTBEAT_FILE", "beat_in_background", "heartbeat"]

#: Variable with the path of the file; unset where nobody supervises the process.
HEARTBEAT_FILE = "ACTIVE_LEARN_HEARTBEAT_FILE"
INTERVAL = 1.0  # seconds between two touches


def heartbeat() -> Callable[[], None]:
    """Return the function that touches the heartbeat's file; it does nothing without one."""
    path = os.environ.get(HEARTBEAT_FILE)
    if not path:
        return lambda: None
    file = Path(path)

    def touch() -> None:
        # The supervisor ends before this process when it is killed, and its folder with it.
        if file.parent.exists():
            file.touch()

    return touch


def beat_in_background() -> None:
    """Touch the file from a thread, in a process whose main loop is another program's."""
    if os.environ.get(HEARTBEAT_FILE):
        threading.Thread(target=_beat, args=(heartbeat(),), name="heartbeat", daemon=True).start()


def _beat(touch: Callable[[], None]) -> None:
    while True:
        touch()
        time.sleep(INTERVAL)
