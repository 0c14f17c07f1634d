"""Runs a command, and leaves nothing of it behind: a program of its own, without our packages.

``python guard.py COMMAND [ARGUMENT ...]`` ends as the command does (with 128 and the signal's
number where a signal ended it), and kills all that the command left running. When the standard
input ends, it stops the command: so a worker that is killed, however suddenly, leaves no training
behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading

GRACE = 5.0  # seconds from the request to end to the kill: enough to store a checkpoint
NICENESS = 5  # more than the worker's: rounds go first
OOM_SCORE = 500  # of 1000: where memory runs out, the kernel ends the training and no other


def _yield_to_others() -> None:
    os.nice(NICENESS)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # Linux
        file.write(str(OOM_SCORE))


def _signal(child: subprocess.Popen[bytes], number: int) -> None:
    # macOS says "not permitted" for a group of zombies.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Stop the command once the standard input ends."""
    while os.read(0, 1):
        pass
    _signal(child, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(GRACE)
    _signal(child, signal.SIGKILL)


def main() -> int:
    """Run the command of the arguments."""
    child = subprocess.Popen(
        sys.argv[1:],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_yield_to_others,  # nothing else runs yet that this could block
    )
    threading.Thread(target=_stop, args=(child,), daemon=True).start()
    status = child.wait()
    _signal(child, signal.SIGKILL)
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(main())
