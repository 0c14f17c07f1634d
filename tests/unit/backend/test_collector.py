"""The garbage collector and what is imported."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import atexit, gc
from active_learn_backend.collector import spare_imports
atexit.register(lambda: print(gc.get_freeze_count() > 0, gc.isenabled(), gc.get_threshold()[0]))
spare_imports()
print(gc.get_freeze_count())
"""


def test_it_runs_rarely_and_looks_at_nothing_at_the_end() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["0", "True", "True", "50000"]
