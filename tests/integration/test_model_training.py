"""A team's own model on a small Label Studio in memory: new files of it, and its training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from active_learn_backend.demo.process import wait_until
from active_learn_backend.state.model_versions import ModelVersion, read_versions
from active_learn_backend.state.training_status import (
    TrainingStatus,
    read_output,
    read_training,
)
from active_learn_backend.web.app import create_app
from fake_label_studio import FakeLabelStudio
from tiny_models import save_pattern_model
from worker_backend import PATIENCE, Backend

EVEN = r"number \d*[02468] of \d+"
AUDITED = {"audit": 0.5, "budget": 10, "reserve": 10, "retrain_every": 5}


@pytest.fixture
def models(tmp_path: Path) -> dict[str, Path]:
    """Models of which one knows all labels, one half of them, and one none."""
    return {
        name: save_pattern_model(tmp_path / "made" / name / "m.onnx", pattern, ("even", "odd"))
        for name, pattern in (
            ("good", EVEN), ("half", ".*"), ("bad", EVEN.replace("02468", "13579")),
        )
    }  # fmt: skip


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


class Trained:
    """A project whose labels are enough for one training."""

    def __init__(self, backend: Backend, command: str, **values: Any) -> None:
        self.backend, self.studio = backend, backend.studio
        self.values = {
            **AUDITED, "train_command": command, "train_every": 10, "device": "cpu", **values,
        }  # fmt: skip
        self.project = backend.add_project(120)
        self.settings = backend.settings(**self.values)

    def label(self, rounds: int = 8) -> None:
        """Label until there are enough audit labels to compare models on."""
        for _ in range(rounds):
            version = self.backend.wait_round(self.project)
            label(self.studio, self.project, 6)
            self.backend.store.mark_changed(self.project)
            self.backend.wait_round(self.project, after=int(version[3:]))

    @property
    def status(self) -> TrainingStatus | None:
        return read_training(self.settings, self.project)

    def wait_end(self, state: str) -> TrainingStatus:
        def ended() -> TrainingStatus | None:
            status = self.status
            return status if status is not None and status.state == state else None

        found = wait_until(ended, timeout=PATIENCE, what=f"a training that is {state}")
        assert isinstance(found, TrainingStatus)
        return found

    def wait_served(self, name: str) -> None:
        """Wait until a version serves, with the queue of a round of its own."""

        def serves() -> bool:
            found = self.backend.store.known_project(self.project)
            return found.model_version == name and not found.round_requested

        wait_until(serves, timeout=PATIENCE, what=f"{name} to serve")

    def versions(self) -> list[ModelVersion]:
        return read_versions(self.settings, self.project)

    def answers(self) -> list[str]:
        """Return what /predict answers for an even and an odd number that nobody labeled."""
        client = create_app(self.settings).test_client()
        tasks = [{"id": 1, "data": {"text": f"number {n} of 1"}} for n in (400, 401)]
        asked = {"tasks": tasks, "project": f"{self.project}.1", "params": {}}
        results = client.post("/predict", json=asked).get_json()["results"]
        return [one["result"][0]["value"]["choices"][0] for one in results]


def test_a_command_trains_a_model_that_serves_from_the_next_round(
    backend: Backend, models: dict[str, Path]
) -> None:
    trained = Trained(backend, f"echo progress: 0.5; echo trained; {write(models['good'])}")
    with backend.worker(**trained.values):
        trained.label()
        status = trained.wait_end("done")
        version = trained.versions()[0]
        assert (version.origin, version.reason) == ("training", "")
        trained.wait_served(version.name)
    assert status.progress == 0.5
    assert status.version == version.number
    assert read_output(trained.settings, trained.project) == "trained\n"
    assert version.quality == 1.0
    assert version.audit >= 10
    assert trained.answers() == ["even", "odd"]
