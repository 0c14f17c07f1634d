"""Which processes run."""

from __future__ import annotations

from active_learn_backend.demo.process import wait_until

__all__ = ["is_alive", "wait_for_end"]


def is_alive(pid: int) -> bool:
    """Return whether a process runs; one that ended and waits for its parent does not."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_for_end(*pids: int) -> None:
    wait_until(lambda: not any(map(is_alive, pids)), timeout=10, what=f"the end of {pids}")
