"""Child processes: ready or a reason, and nothing left behind."""

from __future__ import annotations

import os
import socket
import sys

import pytest
from active_learn_backend.demo.process import (
    ServerError,
    ServerProcess,
    clean_environment,
    free_port,
    wait_until,
)

# A leader that ignores SIGTERM and has a child that does too: only killing the group ends both.
STUBBORN = """
import os, signal, subprocess, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print(child.pid, flush=True)
signal.pause()
"""


def server(tmp_path, source: str) -> ServerProcess:
    return ServerProcess(
        "the server",
        [sys.executable, "-c", source],
        env=clean_environment(),
        log=tmp_path / "server.log",
        cwd=tmp_path,
    )


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and awaits its parent does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_stop_ends_the_whole_group_even_if_it_ignores_sigterm(tmp_path):
    process = server(tmp_path, STUBBORN).start()
    process.wait_ready(lambda: process.tail().strip().isdigit(), timeout=30)
    leader, child = process.pid, int(process.tail())
    assert alive(leader)
    assert alive(child)
    process.stop(grace=0.2)
    assert not process.running
    assert not alive(leader)
    wait_until(lambda: not alive(child), timeout=10, what="the child to end")


def test_children_of_a_dead_leader_are_ended_too(tmp_path):
    process = server(tmp_path, STUBBORN).start()
    process.wait_ready(lambda: process.tail().strip().isdigit(), timeout=30)
    child = int(process.tail())
    os.kill(process.pid, 9)
    wait_until(lambda: not process.running, timeout=10, what="the leader to end")
    assert alive(child)
    process.stop()
    wait_until(lambda: not alive(child), timeout=10, what="the child to end")


def test_a_server_that_dies_is_quoted(tmp_path):
    process = server(tmp_path, "raise SystemExit('no disk left')").start()
    with pytest.raises(
        ServerError, match=r"(?s)the server ended before it was ready.*no disk left"
    ):
        process.wait_ready(lambda: False, timeout=30)
    process.stop()


def test_a_server_that_is_late_is_quoted(tmp_path):
    with server(tmp_path, STUBBORN) as process:
        with pytest.raises(ServerError, match=r"the server was not ready in 0\.2 s"):
            process.wait_ready(lambda: False, timeout=0.2)
        process.kill()


def test_stop_before_start_and_twice_is_no_error(tmp_path):
    process = server(tmp_path, "pass")
    process.stop()
    process.start()
    process.stop()
    process.stop()
    with pytest.raises(ServerError, match="is not started"):
        _ = process.pid


def test_free_port_avoids_a_taken_one():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert free_port(port) not in (0, port)
    assert free_port(port) == port


def test_environment_holds_settings_and_nothing_of_the_shell(monkeypatch):
    for name in ("HOST", "PORT", "DEBUG", "LABEL_STUDIO_HOST", "HTTP_PROXY"):
        monkeypatch.setenv(name, "from the shell")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    environment = clean_environment({"PORT": "9090"})
    assert "from the shell" not in environment.values()
    assert environment["PORT"] == "9090"
    assert environment["OMP_NUM_THREADS"] == "1"


def test_wait_until_gives_the_value_or_says_what_it_waited_for():
    values = iter([0, None, "ready"])
    assert wait_until(lambda: next(values), timeout=5, what="it", interval=0) == "ready"
    with pytest.raises(TimeoutError, match=r"waited 0\.01 s for godot"):
        wait_until(lambda: False, timeout=0.01, what="godot", interval=0)
