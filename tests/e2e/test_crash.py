"""A worker killed at the worst moments leaves a valid queue, and the next one goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Self

from active_learn_backend.demo.annotator import choice
from active_learn_backend.demo.backend import BackendServer
from active_learn_backend.demo.label_studio import LabelStudioServer
from harness import Harness

SETTINGS = {"BUDGET": "4", "RESERVE": "3", "RETRAIN_EVERY": "3", "POLL_INTERVAL": "1"}
POSITIVE = choice("positive", "label", "text")

# The real worker, forked for each line read once everything is imported: a line is a patch, which
# replaces a call of the queue by a SIGKILL of its own process; an empty one lets the worker live.
WORKERS = """
import os, signal, sys
from active_learn_backend.cli import main
from active_learn_backend.labelstudio.published_queue import Queue
from active_learn_backend.worker import loop, pace, round

pace.QUIET_POLLS = 0  # old queues are retired at once, as if nobody had been at work for long

def die(*_args, **_kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

for patch in sys.stdin:
    worker = os.fork()
    if not worker:
        exec(patch)
        try:
            main(["worker"])
        except SystemExit as end:
            os._exit(end.code or 0)  # threads of the parent's libraries are not here to be ended
    print(worker, flush=True)
    _, status = os.waitpid(worker, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)
"""
MOMENTS = {
    "between publish and flip": "Queue.flip = die",
    "between flip and noting it": "round.set_queue = die",
    "between flip and retire": "Queue.retirements = die",
    "in the middle of retiring": "Queue.retire = die",
}


def test_a_worker_killed_leaves_a_valid_queue_and_recovers(
    backend: Callable[..., BackendServer],
    label_studio: LabelStudioServer,
    make_text_project: Callable[..., tuple[int, list[int]]],
) -> None:
    """One moment after the other on one project: each recovery is the next one's start."""
    project, tasks = make_text_project([f"text number {n}" for n in range(60)])
    server = backend(start=False, **SETTINGS)
    harness = Harness(label_studio, server)
    server.run("connect", "--project", str(project), "--pull")
    with Workers(server) as workers:
        kill_at_each_moment(harness, workers, project, tasks)


class Workers:
    """One process that forks workers, one at a time."""

    def __init__(self, server: BackendServer) -> None:
        self._log = server.model_dir.with_name("workers.log")
        self._server, self._worker = server, 0

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", WORKERS],
                env=self._server.env,
                cwd=self._server.model_dir,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._worker:
            self.stop()
        self._process.communicate(timeout=30)

    def start(self, patch: str = "") -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(patch + "\n")
        self._process.stdin.flush()
        self._worker = self._read()

    def stop(self) -> None:
        os.kill(self._worker, signal.SIGTERM)
        assert self.status() == 0, self._log.read_text()

    def status(self) -> int:
        """Wait for the worker's end; return its exit status."""
        self._worker = 0
        return self._read()

    def _read(self) -> int:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self._log.read_text()
        return int(line)


def kill_at_each_moment(harness: Harness, workers: Workers, project: int, tasks: list[int]) -> None:
    workers.start()
    harness.wait_queue(project)

    labeled: dict[int, str] = {}
    for moment, patch in MOMENTS.items():
        workers.stop()
        version = harness.version(project)
        _label(harness, labeled, [task for task in tasks if task not in labeled][-3:])
        workers.start(patch)
        assert workers.status() == -signal.SIGKILL, moment

        # Annotators are served a whole queue: the old one before the flip, the new one after it.
        served = harness.version(project)
        assert (served == version) == (moment == "between publish and flip"), moment
        assert len(harness.queue(project)) == 7
        open_tasks = [task for task in harness.queue(project) if task not in labeled]
        assert harness.api("GET", f"/api/projects/{project}/next")["id"] == open_tasks[0]

        _label(harness, labeled, [open_tasks[0], *[t for t in tasks if t not in labeled][-2:]])
        workers.start()
        harness.wait_labels(project, labeled)
        harness.wait_queue(project, after=int(served[3:]))
        harness.wait_one_version(project)
        queue = harness.queue(project)
        assert len(queue) == len(set(queue)) == 7
        assert not set(queue) & set(labeled)


def _label(harness: Harness, labeled: dict[int, str], tasks: list[int]) -> None:
    for task in tasks:
        harness.annotate(task, POSITIVE)
        labeled[task] = "positive"
