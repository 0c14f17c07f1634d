"""Children that are kept running, with small programs for children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from active_learn_backend.cli.supervision import Child, stop_all
from active_learn_backend.demo.process import wait_until
from running_processes import is_alive, wait_for_end

# Beats, and says who it is and whom it started.
BEATS = """
import os, signal, subprocess, sys, time
from active_learn_backend.heartbeat import heartbeat
beat = heartbeat()
own = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open({pids!r}, "a") as file:
    file.write(f"{{os.getpid()}} {{own.pid}}\\n")
{before}
while True:
    beat()
    time.sleep(0.05)
"""


class Program:
    """A child, and the process ids that it wrote down."""

    def __init__(self, folder: Path, before: str = "", **options: float) -> None:
        self.pids = folder / "pids"
        script = BEATS.format(pids=str(self.pids), before=before)
        self.child = Child(
            "child", [sys.executable, "-c", script], {}, folder / "heartbeat", **options
        )

    def started(self) -> list[list[int]]:
        """Return the ids of each start: of the process, and of what it started."""
        text = self.pids.read_text() if self.pids.exists() else ""
        lines = text.splitlines() if text.endswith("\n") else text.splitlines()[:-1]
        return [[int(pid) for pid in line.split()] for line in lines]

    def watch_until(self, condition: Callable[[], object], what: str) -> None:
        def watch() -> object:
            self.child.keep_running()
            return condition()

        wait_until(watch, timeout=60, what=what, interval=0.02)

    def watch_starts(self, number: int) -> list[int]:
        self.watch_until(lambda: len(self.started()) == number, f"start {number}")
        return self.started()[-1]


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    made: list[Program] = []

    def make(before: str = "", **options: float) -> Program:
        made.append(Program(tmp_path, before, **options))
        return made[-1]

    yield make
    for one in made:
        one.child.kill()


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


@needs_proc
def test_one_that_dies_right_after_its_start_is_started_again_and_leaves_no_orphan(
    program: Callable[..., Program],
) -> None:
    one = program()
    for number in (1, 2, 3):
        leader, own = one.watch_starts(number)
        os.kill(leader, signal.SIGKILL)
        wait_until(lambda: not one.child.running, timeout=10, what="its end")
        assert is_alive(own)
        one.child.keep_running()
        wait_for_end(own)
    one.watch_starts(4)


@needs_proc
def test_one_that_is_stopped_is_killed_and_started_again(
    program: Callable[..., Program], caplog: pytest.LogCaptureFixture
) -> None:
    one = program(hang_seconds=1.0)
    leader, _ = one.watch_starts(1)
    os.kill(leader, signal.SIGSTOP)
    one.watch_starts(2)
    assert not is_alive(leader)
    assert "the child has given no sign of life for " in caplog.text


def test_one_that_beats_is_left_alone(program: Callable[..., Program]) -> None:
    one = program(hang_seconds=1.0)
    one.watch_starts(1)
    end = time.monotonic() + 2.5
    one.watch_until(lambda: time.monotonic() > end, "some time")
    assert len(one.started()) == 1


IGNORES = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"


@needs_proc
def test_all_are_ended_together_also_one_that_does_not_want_to(
    program: Callable[..., Program], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("active_learn_backend.cli.supervision.STOP_SECONDS", 0.5)
    stubborn = program(IGNORES)
    pids = stubborn.watch_starts(1)
    wait_until(lambda: stubborn.child._last_sign() > 0, timeout=10, what="a sign")
    stop_all([stubborn.child])
    wait_for_end(*pids)


def test_one_that_finishes_something_has_the_time_for_it(
    program: Callable[..., Program], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("active_learn_backend.cli.supervision.STOP_SECONDS", 0.2)
    done = tmp_path / "done"
    finish = f"""
def end(*_):
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        beat()
        time.sleep(0.05)
    open({str(done)!r}, "w").close()
    sys.exit()
signal.signal(signal.SIGTERM, end)
"""
    busy = program(finish, finish_seconds=60.0)
    busy.watch_starts(1)
    stop_all([busy.child])
    assert done.exists()


@needs_proc
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux")
def test_children_end_with_their_parent(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = BEATS.format(pids=str(pids), before="")
    parent = f"""
import sys, time
from pathlib import Path
from active_learn_backend.cli.supervision import Child
Child("child", [sys.executable, "-c", {script!r}], {{}}, Path({str(tmp_path / "beat")!r})).start()
time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", parent])
    wait_until(
        lambda: pids.exists() and pids.read_text().endswith("\n"), timeout=60, what="its child"
    )
    leader, own = map(int, pids.read_text().split())
    process.kill()
    process.wait()
    wait_for_end(leader)
    os.kill(own, signal.SIGKILL)  # what the child itself started is the child's to end
