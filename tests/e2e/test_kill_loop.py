"""The worker is killed at random moments while labels come in; nothing is lost. `make soak`."""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Callable

import pytest
from active_learn_backend.demo.annotator import Annotator, choice
from active_learn_backend.demo.backend import BackendServer
from active_learn_backend.demo.label_studio import LabelStudioServer
from active_learn_backend.demo.process import wait_until
from harness import Harness

SETTINGS = {"BUDGET": "5", "RESERVE": "5", "RETRAIN_EVERY": "3", "POLL_INTERVAL": "1"}
KILLS = 50


def workers(harness: Harness) -> list[int]:
    """Process ids of all workers so far, the running one last."""
    return [int(pid) for pid in re.findall(r"worker \S+/(\d+)/\w+ is ready", harness.log())]


@pytest.mark.soak
def test_a_worker_killed_at_random_moments_loses_no_label(
    backend: Callable[..., BackendServer],
    label_studio: LabelStudioServer,
    make_text_project: Callable[..., tuple[int, list[int]]],
    make_annotator: Callable[..., Annotator],
) -> None:
    moments = random.Random(0)
    project, _ = make_text_project([f"text {n % 7} number {n}" for n in range(400)])
    harness = Harness(label_studio, backend(**SETTINGS))
    version = harness.connect(project)
    given: dict[int, str] = {}

    def answer(task: dict[str, object]) -> list[dict[str, object]]:
        label = ("positive", "negative")[int(str(task["id"])) % 2]
        given[int(str(task["id"]))] = label
        return choice(label, "label", "text")

    annotator = make_annotator(project, answer)
    for kill in range(KILLS):
        list(annotator.label(5))
        time.sleep(moments.uniform(0, 2))  # the random moment itself, not a wait for something
        worker = workers(harness)[-1]
        os.kill(worker, signal.SIGKILL)
        # Right after it annotators are served a whole queue.
        queue = harness.rows(project, harness.version(project))
        assert [row["score"] for row in queue] == [rank / 10 for rank in range(10)]
        wait_until(
            lambda dead=worker: workers(harness)[-1] != dead,
            timeout=60,
            what=f"a new worker after kill {kill + 1}",
        )
        version = harness.wait_queue(project, after=int(version[3:]))
    harness.wait_labels(project, given)
    wait_until(
        lambda: (
            {row["model_version"] for row in harness.rows(project)} == {harness.version(project)}
        ),
        timeout=120,
        what="the leftovers to be swept",
    )
    assert harness.state(project).last_error == ""
