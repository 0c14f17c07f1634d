"""A project whose tasks are labeled, with an own model that can be trained."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from active_learn_backend.demo.process import wait_until
from active_learn_backend.labelstudio.content_loader import ContentLoader
from active_learn_backend.learning.engines.local import LocalEngine
from active_learn_backend.state.model_versions import ModelVersion, read_versions
from active_learn_backend.state.store import Project
from active_learn_backend.state.training_status import (
    TrainingStatus,
    read_training,
)
from active_learn_backend.web.app import create_app
from active_learn_backend.worker.training import train
from active_learn_backend.worker.work import Work
from fake_label_studio import CONFIG, FakeLabelStudio
from worker_backend import PATIENCE, Backend

# One queue is enough: half of it are audit tasks, of which ten have to be labeled.
AUDITED = {"audit": 0.5, "budget": 60, "reserve": 10, "retrain_every": 10}


def label(studio: FakeLabelStudio, project: int, count: int) -> None:
    """Label as a person who takes what is served."""
    for _ in range(count):
        task = studio.next_task(project, "somebody")
        assert task is not None
        text = studio.tasks[task]["data"]["text"]
        studio.annotate(task, "odd" if int(text.split()[1]) % 2 else "even")


def write(model: Path) -> str:
    """Return the line of a shell that takes a model for the one that it trained."""
    return f"cp {model} {model}.json $TRAIN_OUTPUT"


class Labeled:
    """A project with labels, half of them of audit tasks, and a head that was trained on them.

    `values` are the settings of its backend.
    """

    def __init__(
        self, backend: Backend, count: int = 40, config: str = CONFIG, **values: Any
    ) -> None:
        self.backend, self.studio = backend, backend.studio
        self.values = {**AUDITED, "train_every": 10, "device": "cpu", **values}
        self.project = backend.add_project(120, config=config)
        self.settings = backend.settings(**self.values)
        self.turn()
        label(self.studio, self.project, count)
        self.turn()

    def turn(self) -> None:
        self.backend.turn(self.project, **self.values)

    def work(self) -> Work:
        load = ContentLoader(self.settings, self.backend.client(self.settings)).load
        return Work(self.settings, self.backend.store, load, LocalEngine(), threading.Event())

    @property
    def state(self) -> Project:
        return self.backend.store.known_project(self.project)

    @property
    def status(self) -> TrainingStatus:
        found = read_training(self.settings, self.project)
        assert found is not None
        return found

    @property
    def versions(self) -> list[ModelVersion]:
        return read_versions(self.settings, self.project)

    def train(self, command: str, **values: Any) -> TrainingStatus:
        """Train now, whether it is due or not, and return how it ended."""
        settings = self.settings.model_copy(update={"train_command": command, **values})
        train(replace(self.work(), settings=settings), self.state)
        return self.status

    def wait_state(self, state: str) -> TrainingStatus:
        def reached() -> bool:
            found = read_training(self.settings, self.project)
            return found is not None and found.state == state

        wait_until(reached, timeout=PATIENCE, what=f"a training that is {state}")
        return self.status

    def wait_served(self, name: str = "", *, number: int = 0) -> None:
        """Wait until a version serves, with the queue of a round that took it."""

        def serves() -> bool:
            found = self.state
            is_it = found.model_version == name if name else found.served_model == number
            return is_it and not found.round_requested and not found.activity

        wait_until(serves, timeout=PATIENCE, what=f"{name or number} to serve")

    def answers(self) -> list[str]:
        """Return what /predict answers for an even and an odd number that nobody labeled."""
        client = create_app(self.settings).test_client()
        tasks = [{"id": 1, "data": {"text": f"number {n} of 1"}} for n in (400, 401)]
        asked = {"tasks": tasks, "project": f"{self.project}.1", "params": {}}
        results = client.post("/predict", json=asked).get_json()["results"]
        return [one["result"][0]["value"]["choices"][0] for one in results]

    def html(self) -> str:
        client = create_app(self.settings).test_client()
        return client.get(f"/projects/{self.project}", headers={"Accept": "text/html"}).text

    def page(self) -> dict[str, Any]:
        answer = create_app(self.settings).test_client().get(f"/projects/{self.project}.json")
        return dict(answer.get_json()["model"])
