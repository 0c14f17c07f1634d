"""Processes are killed at random moments while three people label; nothing is lost. `make soak`."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from active_learn_backend.demo.annotator import Annotator, choice
from active_learn_backend.demo.backend import BackendServer
from active_learn_backend.demo.label_studio import LabelStudioServer
from active_learn_backend.demo.process import ServerError, free_port, wait_until
from harness import TEXT_CONFIG, Harness

SETTINGS = {"BUDGET": "5", "RESERVE": "5", "RETRAIN_EVERY": "3", "POLL_INTERVAL": "1"}
TASKS = 3000
PEOPLE = 3
KILLS = 50
PATIENCE = 180.0


def label_of(task: int) -> str:
    return ("positive", "negative")[task % 2]


class People:
    """Annotators who go on when Label Studio comes back; they remember what it took."""

    def __init__(self, studio: LabelStudioServer, project: int) -> None:
        self.given: set[int] = set()
        self._studio, self._project = studio, project
        self._done = threading.Event()
        self.tokens = [studio.token, *(self._new_token(n) for n in range(1, PEOPLE))]

    def _new_token(self, number: int) -> str:
        return self._studio.create_user(f"annotator{number}@example.com").token

    @contextmanager
    def at_work(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._work, args=(one,)) for one in self.tokens]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._done.set()
            for thread in threads:
                thread.join(PATIENCE)

    def _work(self, token: str) -> None:
        with self._studio.client(token) as client:
            person = Annotator(client, self._project, self._answer, think=0.3)
            while not self._done.is_set():
                try:
                    for submission in person.label(1):
                        self.given.add(int(submission.task["id"]))
                except (httpx.HTTPError, ServerError):
                    self._done.wait(0.5)  # Label Studio was killed

    @staticmethod
    def _answer(task: dict[str, Any]) -> list[dict[str, Any]]:
        return choice(label_of(int(task["id"])), "label", "text")


class Processes:
    """What is killed, and how it comes back."""

    def __init__(self, studio: LabelStudioServer, backend: BackendServer) -> None:
        self.studio, self.backend = studio, backend

    def kill(self, victim: str) -> None:
        if victim == "Label Studio":
            self.studio.process.kill()
            self.studio.start()
        elif victim == "serve":
            os.kill(self.backend.process.pid, signal.SIGKILL)  # its children end by themselves
            wait_until(lambda: not self._children(), timeout=PATIENCE, what="their end")
            self.backend.process.kill()
            self.backend.start(PATIENCE)
        else:
            own = wait_until(
                lambda: self._children().get(victim), timeout=PATIENCE, what=f"a {victim}"
            )
            os.kill(int(str(own)), signal.SIGKILL)

    def _children(self) -> dict[str, int]:
        """Return the process ids of web master, web process and worker of this backend."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self.backend.model_dir.as_posix() not in (folder / "environ").read_text():
                    continue
                command = (folder / "cmdline").read_text().split("\0")
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if "gunicorn" in command:
                of_serve = parent == self.backend.process.pid
                found["web master" if of_serve else "web process"] = int(folder.name)
            elif command[-2:-1] == ["worker"]:
                found["worker"] = int(folder.name)
        return found


VICTIMS = ("worker", "worker", "web process", "web master", "serve", "Label Studio")


@pytest.mark.soak
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_processes_killed_at_random_moments_lose_no_label(
    label_studio_installed: None, tmp_path: Path
) -> None:
    moments = random.Random(0)
    with ExitStack() as stack:
        # It has to come back at the same port.
        studio = LabelStudioServer(tmp_path / "label-studio", port=free_port())
        stack.enter_context(studio)
        backend = stack.enter_context(BackendServer(studio, tmp_path / "backend", env=SETTINGS))
        project = studio.api(
            "POST", "/api/projects/", {"title": "Kills", "label_config": TEXT_CONFIG}
        )["id"]
        rows = [{"text": f"text {n % 7} number {n}"} for n in range(TASKS)]
        studio.api("POST", f"/api/projects/{project}/import", rows)
        harness = Harness(studio, backend)
        version = harness.connect(project)
        people, processes = People(studio, project), Processes(studio, backend)
        killed: Counter[str] = Counter()
        with people.at_work():
            for _ in range(KILLS):
                time.sleep(moments.uniform(0, 3))  # the random moment itself
                victim = moments.choice(VICTIMS)
                processes.kill(victim)
                killed[victim] += 1
                version = harness.wait_queue(project, after=int(version[3:]), timeout=PATIENCE)
                queue = harness.rows(project, version)  # a whole one
                n = len(queue)
                assert n >= 10
                assert [row["score"] for row in queue] == [rank / n for rank in range(n)]
        print(f"{len(people.given)} labels, killed: {dict(killed)}")
        held = harness.annotated(project)
        assert people.given <= held.keys()  # what Label Studio took, it holds
        harness.wait_labels(project, {task: label_of(task) for task in held})
        wait_until(lambda: not harness.state(project).last_error, timeout=PATIENCE, what="no error")
    assert "Traceback" not in harness.log()
