"""A worker killed at the worst moments leaves a valid queue, and the next one goes on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable

from active_learn_backend.demo.annotator import choice
from active_learn_backend.demo.backend import BackendServer
from active_learn_backend.demo.label_studio import LabelStudioServer
from active_learn_backend.demo.process import wait_until
from harness import Harness

SETTINGS = {"BUDGET": "4", "RESERVE": "3", "RETRAIN_EVERY": "3", "POLL_INTERVAL": "1"}
POSITIVE = choice("positive", "label", "text")

# The real worker, with one call of the queue replaced by a SIGKILL of its own process.
KILLED_WORKER = """
import os, signal
from active_learn_backend.cli import main
from active_learn_backend.labelstudio.published_queue import Queue
from active_learn_backend.state.store import Store

def die(*_args, **_kwargs):
    os.kill(os.getpid(), signal.SIGKILL)

{patch}
main(["worker"])
"""
MOMENTS = {
    "between publish and flip": "Queue.flip = die",
    "between flip and noting it": "Store.set_queue = die",
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
    worker = server.server("worker").start()
    harness.wait_queue(project)

    labeled: dict[int, str] = {}
    for moment, patch in MOMENTS.items():
        worker.stop()
        version = harness.version(project)
        _label(harness, labeled, [task for task in tasks if task not in labeled][-3:])
        killed = subprocess.run(
            [sys.executable, "-c", KILLED_WORKER.format(patch=patch)],
            env=server.env,
            cwd=server.model_dir,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()

        # Annotators are served a whole queue: the old one before the flip, the new one after it.
        served = harness.version(project)
        assert (served == version) == (moment == "between publish and flip"), moment
        assert len(harness.queue(project)) == 7
        open_tasks = [task for task in harness.queue(project) if task not in labeled]
        assert harness.api("GET", f"/api/projects/{project}/next")["id"] == open_tasks[0]

        _label(harness, labeled, [open_tasks[0], *[t for t in tasks if t not in labeled][-2:]])
        worker = server.server("worker").start()
        harness.wait_labels(project, labeled)
        harness.wait_queue(project, after=int(served[3:]))
        wait_until(
            lambda: (
                {row["model_version"] for row in harness.rows(project)}
                == {harness.version(project)}
            ),
            timeout=60,
            what=f"the leftovers to be swept after a death {moment}",
        )
        queue = harness.queue(project)
        assert len(queue) == len(set(queue)) == 7
        assert not set(queue) & set(labeled)
    worker.stop()


def _label(harness: Harness, labeled: dict[int, str], tasks: list[int]) -> None:
    for task in tasks:
        harness.annotate(task, POSITIVE)
        labeled[task] = "positive"


def test_a_dead_worker_of_serve_is_replaced(
    backend: Callable[..., BackendServer],
    label_studio: LabelStudioServer,
    make_text_project: Callable[..., tuple[int, list[int]]],
) -> None:
    project, tasks = make_text_project([f"text number {n}" for n in range(20)])
    harness = Harness(label_studio, backend(**SETTINGS))
    harness.connect(project)
    found = re.search(r"worker \S+/(\d+)/\w+ is ready", harness.log())
    assert found is not None
    os.kill(int(found[1]), signal.SIGKILL)
    for task in tasks[:4]:
        harness.annotate(task, POSITIVE)
    harness.wait_queue(project, after=1)
    harness.wait_log("the worker ended with status -9")
