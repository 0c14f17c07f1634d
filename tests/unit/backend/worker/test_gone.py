"""What becomes of a project that is deleted in Label Studio, or whose model is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from active_learn_backend.cli import main
from active_learn_backend.labelstudio.client import LabelStudioClient
from active_learn_backend.labelstudio.registration import SECRET_HEADER
from active_learn_backend.settings import Settings
from active_learn_backend.state.schedule import resume
from active_learn_backend.state.store import Project, Store
from active_learn_backend.web.health import Health
from active_learn_backend.worker.loop import Worker
from click.testing import CliRunner
from fake_server import KEY, Answer, Script
from fake_studio import CONFIG, OURS


class Studio(Script):
    """A Label Studio with one project without tasks, its model and its webhook."""

    def __init__(self) -> None:
        super().__init__()
        self.is_label_studio = True
        self.project: dict[str, Any] | None = {
            "id": 3, "title": "Texts", "label_config": CONFIG, "task_number": 0,
            "sampling": "Uncertainty sampling", "model_version": "",
            "total_annotations_number": 0, "skipped_annotations_number": 0,
        }  # fmt: skip
        self.models = {7: {"id": 7, "url": OURS, "project": 3}}
        webhook = {"id": 9, "url": f"{OURS}/webhook", "project": 3, "actions": []}
        self.webhooks = {9: webhook | {"headers": {SECRET_HEADER: "a secret"}}}
        self.answer = self._respond

    def _respond(self, method: str, path: str, _authorization: str | None) -> Answer:
        status, body = self._answer(method, path.split("?")[0].strip("/").split("/")[1:])
        return status, {}, json.dumps(body).encode()

    def _answer(self, method: str, where: list[str]) -> tuple[int, Any]:
        if where[0] == "version" and self.is_label_studio:
            return 200, {"release": "1.23.2"}
        if where[0] == "tasks":
            return 200, {"tasks": [], "total": 0}
        if where[-1] == "model-versions":
            return 200, {}
        if where[0] == "projects" and self.project:
            if method == "PATCH":
                self.project |= json.loads(self.bodies[-1])
            return 200, self.project
        table: dict[int, Any] = {"ml": self.models, "webhooks": self.webhooks}.get(where[0], {})
        if len(where) == 1 and table is not None:
            return 200, list(table.values())
        number = int(where[1])
        if number not in table:
            return 404, {"detail": "Not found."}
        return 200, table.pop(number) if method == "DELETE" else table[number]


@pytest.fixture
def studio() -> Iterator[Studio]:
    server = Studio()
    yield server
    server.close()


@pytest.fixture
def worker(settings: Settings, store: Store) -> Worker:
    """Return the worker of one connected project."""
    store.register(3)
    store.update(3, backend_id=7, webhook_id=9, sampling_set=True, former_sampling="Uniform")
    return Worker(settings, store, LabelStudioClient(settings))


def turn(worker: Worker, store: Store) -> Project:
    store.mark_changed(3)
    worker.turn(3)
    return store.known_project(3)


def test_a_project_that_was_deleted_is_disconnected_with_one_line(
    studio: Studio, worker: Worker, store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert turn(worker, store).status == "active"
    studio.project = None
    caplog.clear()
    project = turn(worker, store)
    assert (project.status, project.last_error) == ("disconnected", "")
    words = "Label Studio has no such project any more, or the user of the token may not see it"
    assert project.reason.startswith(words)
    (line,) = [record.getMessage() for record in caplog.records if record.levelname != "INFO"]
    assert line == f"disconnected: {project.reason}"
    assert Health(store, tmp_path)._projects() == []

    environment = {
        "LABEL_STUDIO_URL": studio.url, "LABEL_STUDIO_API_KEY": KEY, "MODEL_DIR": str(tmp_path),
    }  # fmt: skip
    done = CliRunner().invoke(main, ["disconnect", "--project", "3"], env=environment)
    assert (done.exit_code, done.output) == (
        0,
        "project 3: Label Studio has no such project any more; it is forgotten here too\n",
    )
    assert store.projects() == []


def test_another_server_at_that_address_deletes_no_project(
    studio: Studio, worker: Worker, store: Store
) -> None:
    studio.is_label_studio, studio.project = False, None
    project = turn(worker, store)
    assert project.status == "active"
    assert "is not Label Studio" in project.last_error


def test_a_project_whose_model_was_deleted_is_paused_and_its_webhook_removed(
    studio: Studio, worker: Worker, store: Store
) -> None:
    del studio.models[7]
    project = turn(worker, store)
    assert (project.status, project.mode) == ("paused", "pull")
    assert project.reason.startswith("its model was deleted in Label Studio; run `active-learn")
    assert studio.webhooks == {}
    assert studio.project is not None
    assert studio.project["sampling"] == "Uniform"


@pytest.mark.parametrize("cause", ["sampling", "model"])
def test_a_paused_project_is_ordered_again_by_the_next_turn(
    studio: Studio, worker: Worker, store: Store, cause: str
) -> None:
    assert studio.project is not None
    assert not resume(store, 3)  # it is not paused
    if cause == "model":
        del studio.models[7]
    else:
        studio.project["sampling"] = "Uniform"
    assert turn(worker, store).status in ("paused", "paused_by_user")
    assert studio.project["sampling"] == "Uniform"
    assert resume(store, 3)
    assert turn(worker, store).status == "active"
    assert studio.project["sampling"] == "Uncertainty sampling"


def test_a_project_that_polls_needs_no_model(studio: Studio, worker: Worker, store: Store) -> None:
    store.update(3, mode="pull", backend_id=None, webhook_id=None)
    studio.models.clear()
    assert turn(worker, store).status == "active"
    assert [path for _, path, _ in studio.asked if path.startswith("/api/ml")] == []


def test_a_model_that_is_just_being_made_is_waited_for(
    studio: Studio, worker: Worker, store: Store
) -> None:
    """Label Studio calls /setup before it has stored the model."""
    store.update(3, backend_id=None, webhook_id=None)
    studio.models.clear()
    studio.webhooks.clear()
    assert turn(worker, store).status == "active"


def test_a_model_that_was_made_anew_by_hand_goes_on(
    studio: Studio, worker: Worker, store: Store
) -> None:
    studio.models = {8: {"id": 8, "url": OURS, "project": 3}}
    project = turn(worker, store)
    assert (project.status, project.backend_id) == ("active", 8)


def test_the_model_is_looked_for_now_and_then(studio: Studio, worker: Worker, store: Store) -> None:
    for _ in range(3):
        turn(worker, store)
    assert [path for _, path, _ in studio.asked if path.startswith("/api/ml")] == ["/api/ml/7"]
