"""A team's own model gets new versions on a real Label Studio, while three people label."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import pytest
from active_learn_backend.demo.annotator import Annotator, choice
from active_learn_backend.demo.backend import BackendServer
from active_learn_backend.demo.label_studio import LabelStudioServer, User
from active_learn_backend.demo.process import ServerError, wait_until
from harness import PATIENCE, Harness
from tiny_models import save_pattern_model

EVEN = r"text number \d*[02468]"
LABELS = ("positive", "negative")
WAIT_FOR = "until test -e {ready}; do sleep 0.1; done; echo progress: 0.5; "


def truth(task: dict[str, Any]) -> list[dict[str, Any]]:
    even = int(task["data"]["text"].split()[-1]) % 2 == 0
    return choice(LABELS[0 if even else 1], to_name="text")


def take(model: Path, target: Path) -> None:
    """Put a model in the place of another, as a deployment does."""
    for suffix in (".json", ""):
        shutil.copy(f"{model}{suffix}", f"{target}{suffix}")


def doctor(server: BackendServer, project: int) -> str:
    """Return what it finds, whatever its exit status."""
    try:
        return server.run("doctor", "--project", str(project), "--seconds", "100")
    except ServerError as error:
        return str(error)


class Project:
    """A project whose model has versions, and three people who label it in turn."""

    def __init__(self, harness: Harness, people: list[Annotator], number: int) -> None:
        self.harness, self.number = harness, number
        self._people = cycle(people)

    def label(self, count: int) -> None:
        for _, person in zip(range(count), self._people, strict=False):
            assert len(list(person.label(1))) == 1

    def wait_served(self, number: int) -> str:
        """Wait until a version serves with a queue of its own; return its name."""
        found = wait_until(
            lambda: self._served(number), timeout=PATIENCE, what=f"version {number} to serve"
        )
        return str(found)

    def _served(self, number: int) -> str:
        state = self.harness.state(self.number)
        taken = state.served_model == number and not state.activity
        ours = taken and self.harness.version(self.number) == state.queue_version
        return state.model_version if ours else ""

    def answers(self) -> set[tuple[str, ...]]:
        """Return what is answered live for even and odd numbers, with the version."""
        tasks = [{"id": 1, "data": {"text": f"text number {n}"}} for n in (900, 901)]
        body = {"tasks": tasks, "project": f"{self.number}.1", "params": {}}
        results = self.harness.ask("/predict", body)["results"]
        found = [one["result"][0]["value"]["choices"][0] for one in results]
        return {(found[0], found[1], results[0]["model_version"])}

    def page(self) -> dict[str, Any]:
        address = f"{self.harness.backend.url}/projects/{self.number}.json"
        return dict(httpx.get(address, timeout=30).json()["model"] or {})


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=pytest.mark.soak)])
def test_a_model_is_trained_and_replaced_while_three_people_label(
    engine: str,
    label_studio: LabelStudioServer,
    backend: Callable[..., BackendServer],
    make_text_project: Callable[..., tuple[int, list[int]]],
    make_annotator: Callable[..., Annotator],
    make_user: Callable[[], User],
    tmp_path: Path,
) -> None:
    """What fails to load changes nothing; a person goes back to what was trained."""
    made = {
        name: save_pattern_model(tmp_path / "made" / name / "m.onnx", pattern, LABELS)
        for name, pattern in (("half", ".*"), ("good", EVEN), ("wrong", f"(?:{EVEN})?1"))
    }
    path, ready = tmp_path / "team.onnx", tmp_path / "ready"
    take(made["half"], path)
    # Only the first training ends; another one would be the version that serves.
    copied = f"cp {made['good']} {made['good']}.json $TRAIN_OUTPUT"
    command = f"{WAIT_FOR.format(ready=ready)} rm {ready}; {copied}"
    server = backend(
        ENGINE=engine, MODEL=str(path), TRAIN_COMMAND=command, TRAIN_EVERY="12", AUDIT="0.5",
        BUDGET="12", RESERVE="12", RETRAIN_EVERY="6", POLL_INTERVAL="1",
    )  # fmt: skip
    harness = Harness(label_studio, server)
    number, _ = make_text_project([f"text number {n}" for n in range(120)])
    harness.connect(number)
    people = [make_annotator(number, truth, make_user()) for _ in range(3)]
    project = Project(harness, people, number)
    former = project.wait_served(1)
    assert project.answers() == {("positive", "positive", former)}

    # The former model serves while the other one is trained, until it is ready.
    project.label(33)
    wait_until(
        lambda: (project.page()["training"] or {}).get("status", {}).get("state") == "running",
        timeout=PATIENCE,
        what="the training",
    )
    assert project.answers() == {("positive", "positive", former)}
    ready.touch()
    trained = project.wait_served(2)
    assert project.answers() == {("positive", "negative", trained)}
    assert project.page()["versions"][0]["quality"] == 1.0

    # Half of a file is no version.
    path.write_bytes(made["half"].read_bytes()[:100])
    project.label(3)
    wait_until(lambda: project.page()["refused"], timeout=PATIENCE, what="the refusal")
    refusal = f"what MODEL names now is not used, {trained} serves on: 'team.onnx' is no ONNX"
    assert refusal in doctor(server, number)
    project.label(3)
    assert project.answers() == {("positive", "negative", trained)}

    # A whole one is, whatever it is worth; and a person goes back.
    take(made["wrong"], path)
    project.label(3)
    replaced = project.wait_served(3)
    assert project.answers() == {("negative", "positive", replaced)}
    server.run("rollback", "--project", str(number), "--to", trained)
    project.label(3)
    assert project.wait_served(2) == trained
    assert project.answers() == {("positive", "negative", trained)}
    assert harness.state(number).last_error == ""
    assert "ERROR" not in harness.log()
