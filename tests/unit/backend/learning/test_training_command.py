"""A training command: what it is given, what is kept of it, and that nothing of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from active_learn_backend.demo.process import wait_until
from active_learn_backend.errors import TrainingError, WorkerStoppingError
from active_learn_backend.learning.engines import command as module
from active_learn_backend.learning.engines.command import (
    MOST_LINES,
    Output,
    run_command,
    training_environment,
)

PATIENCE = 20.0


def run(command: str, output: Output, seconds: float = PATIENCE, **values: object) -> None:
    stopping = threading.Event()
    run_command(command, os.environ | values, output, seconds, stopping)  # type: ignore[arg-type]


def is_gone(pid: int) -> bool:
    """Return whether a process ended: nobody may be there to read its status."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def read_pid(path: Path) -> int:
    def written() -> str:
        text = path.read_text() if path.exists() else ""
        return text if text.endswith("\n") else ""

    return int(str(wait_until(written, timeout=PATIENCE, what="the process")))


def test_the_end_of_the_output_is_kept_and_progress_is_told(tmp_path: Path) -> None:
    told: list[float] = []
    output = Output(tmp_path / "output.log", told.append)
    lines = "for n in $(seq 1000); do echo line $n; done"
    run(
        f"{lines}; echo progress: 0.25; echo 'progress: 7'; echo progress:1.0;"
        r" printf '10 %%\r90 %%\n'; printf 'caf\351 '; echo wrong >&2; printf end",
        output,
    )
    assert told == [0.25, 1.0]
    kept = (tmp_path / "output.log").read_text().splitlines()
    assert len(kept) == MOST_LINES
    assert kept[-4:] == ["progress: 7", "90 %", "caf\ufffd wrong", "end"]
    assert kept[-5] == "line 1000"


def test_a_line_without_end_takes_little_memory(tmp_path: Path) -> None:
    output = Output(tmp_path / "output.log")
    for _ in range(100):
        output.add(b"x" * 100_000)
    output.close()
    output.save()
    assert (tmp_path / "output.log").stat().st_size < 1000


def test_a_command_gets_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = {
        "LABEL_STUDIO_API_KEY": "k", "LABEL_STUDIO_ACCESS_TOKEN": "k", "BASIC_AUTH_PASS": "k",
        "LABEL_STUDIO_API_KEY_FILE": "k", "LABEL_STUDIO_PROXY": "k", "DATABASE_URL": "k",
    }  # fmt: skip
    for name, value in {**secret, "TEAM": "ours"}.items():
        monkeypatch.setenv(name, value)
    found = training_environment({"TRAIN_DATA": "/data"})
    assert not secret.keys() & found.keys()
    assert (found["TEAM"], found["TRAIN_DATA"]) == ("ours", "/data")
    assert found["PATH"] == os.environ["PATH"]


def test_what_a_command_leaves_running_ends_with_it(tmp_path: Path) -> None:
    run(f"sleep 600 & echo $! > {tmp_path}/pid", Output(tmp_path / "output.log"))
    pid = read_pid(tmp_path / "pid")
    wait_until(lambda: is_gone(pid), timeout=PATIENCE, what="its end")


@pytest.mark.parametrize("closed", ["", "exec >/dev/null 2>&1; "])
def test_one_that_takes_too_long_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    """Also one that does not obey, and one that writes nowhere."""
    monkeypatch.setattr(module, "GUARD", hurried_guard(tmp_path))
    endless = "trap '' TERM; while true; do sleep 1; done"
    command = f"{closed}(echo $$ > {tmp_path}/pid; {endless}) & {endless}"
    with pytest.raises(TrainingError, match=r"longer than TRAIN_TIMEOUT \(0.5 s\)"):
        run(command, Output(tmp_path / "output.log"), 0.5)
    pid = read_pid(tmp_path / "pid")
    wait_until(lambda: is_gone(pid), timeout=PATIENCE, what="its end")


def hurried_guard(folder: Path) -> Path:
    """Return the guard with less patience, so that the test takes no five seconds."""
    path = folder / "guard.py"
    path.write_text(module.GUARD.read_text().replace("GRACE = 5.0", "GRACE = 0.2"))
    return path


def test_one_whose_worker_stops_is_ended(tmp_path: Path) -> None:
    stopping = threading.Event()
    output = Output(tmp_path / "output.log", lambda share: stopping.set())
    with pytest.raises(WorkerStoppingError):
        run_command("echo progress: 0.1; sleep 600", os.environ, output, PATIENCE, stopping)


def test_one_whose_worker_is_killed_is_ended(tmp_path: Path) -> None:
    command = f"echo $$ > {tmp_path}/pid; sleep 600"
    program = (
        "import os, threading; from pathlib import Path\n"
        "from active_learn_backend.learning.engines.command import Output, run_command\n"
        f"run_command({command!r}, os.environ, Output(Path({str(tmp_path / 'log')!r})), 600.0,"
        " threading.Event())"
    )
    worker = subprocess.Popen([sys.executable, "-c", program])
    try:
        pid = read_pid(tmp_path / "pid")
        worker.send_signal(signal.SIGKILL)
        wait_until(lambda: is_gone(pid), timeout=PATIENCE, what="its end")
    finally:
        worker.kill()
        worker.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux")
def test_the_kernel_ends_the_training_first_where_memory_runs_out(tmp_path: Path) -> None:
    output = Output(tmp_path / "output.log")
    run("cat /proc/self/oom_score_adj; nice", output)
    score, niceness = (tmp_path / "output.log").read_text().split()
    assert int(score) >= 500
    assert int(niceness) >= min(os.nice(0) + 5, 19)


def test_a_full_disk_does_not_hide_how_it_ended(small_disk: Path) -> None:
    (small_disk / "filler").write_bytes(b"")
    with pytest.raises(TrainingError, match="exit status 1"):
        run(
            f"echo started; dd if=/dev/zero of={small_disk}/filler bs=1M; exit 1",
            Output(small_disk / "output.log"),
        )
