"""`active-learn serve` as a process: what it starts again, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from active_learn_backend.demo.process import (
    ServerProcess,
    clean_environment,
    free_port,
    wait_until,
)
from running_processes import is_alive

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


class Serve:
    """A running `active-learn serve` that has no Label Studio to speak to."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        environment = {"HOST": "127.0.0.1", "PORT": str(self.port), "MODEL_DIR": str(folder)}
        self.process = ServerProcess(
            "serve",
            [sys.executable, "-m", "active_learn_backend.cli", "serve"],
            env=clean_environment(environment),
            log=folder / "serve.log",
            cwd=folder,
        )

    def children(self) -> dict[str, int]:
        """Return the process ids of the web process's master and of the worker."""
        found = {}
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                lines = dict(line.split(":\t", 1) for line in status.read_text().splitlines())
                command = (status.parent / "cmdline").read_text()
            except (OSError, ValueError):
                continue  # it ended meanwhile
            if int(lines["PPid"]) == self.process.pid and "Z" not in lines["State"]:
                if "gunicorn" in command:
                    found["web"] = int(status.parent.name)
                elif command.endswith("worker\0"):
                    found["worker"] = int(status.parent.name)
        return found

    def wait_child(self, name: str, other_than: int = 0) -> int:
        def child() -> int:
            pid = self.children().get(name, 0)
            return 0 if pid == other_than else pid

        return int(str(wait_until(child, timeout=120, what=f"another {name}", interval=0.02)))

    def wait_healthy(self) -> None:
        def healthy() -> bool:
            try:
                url = f"http://127.0.0.1:{self.port}/health"
                return httpx.get(url, timeout=5, trust_env=False).is_success
            except httpx.HTTPError:
                return False

        wait_until(healthy, timeout=120, what="an answer of /health")

    def wait_worker(self, number: int) -> None:
        wait_until(
            lambda: self.process.log.read_text().count(" is ready; Label Studio is ") == number,
            timeout=120,
            what=f"worker {number}",
        )


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    running = Serve(tmp_path)
    with running.process:
        yield running


def test_a_web_process_killed_at_its_start_comes_back_and_all_end_with_serve(serve: Serve) -> None:
    first = serve.wait_child("web")
    os.kill(first, signal.SIGKILL)
    second = serve.wait_child("web", other_than=first)
    serve.wait_healthy()
    serve.wait_worker(1)
    last = [second, *serve.children().values()]
    os.kill(serve.process.pid, signal.SIGTERM)
    wait_until(lambda: not serve.process.running, timeout=30, what="the end of serve")
    assert not any(map(is_alive, last))


def test_children_end_after_serve_was_killed(serve: Serve) -> None:
    serve.wait_healthy()
    serve.wait_worker(1)
    left = list(serve.children().values())
    assert len(left) == 2
    os.kill(serve.process.pid, signal.SIGKILL)
    wait_until(lambda: not any(map(is_alive, left)), timeout=30, what="the end of the children")


@pytest.mark.soak
def test_a_worker_that_hangs_is_replaced(serve: Serve) -> None:
    serve.wait_worker(1)
    hung = serve.wait_child("worker")
    os.kill(hung, signal.SIGSTOP)
    serve.wait_child("worker", other_than=hung)
    serve.wait_worker(2)
    assert not is_alive(hung)
