"""Connecting a project and taking it back, against a small Label Studio that keeps its state."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from active_learn.errors import ParameterError
from active_learn_backend.cli import main
from active_learn_backend.errors import (
    ConnectionRefusedByLabelStudioError,
    LabelConfigError,
    LabelStudioError,
    StoreError,
)
from active_learn_backend.labelstudio.client import LabelStudioClient
from active_learn_backend.labelstudio.connection import Connection, recover_projects
from active_learn_backend.labelstudio.registration import SECRET_HEADER
from active_learn_backend.logs import TextFormatter
from active_learn_backend.settings import Settings, load_settings
from active_learn_backend.state.store import Store
from click.testing import CliRunner
from fake_server import KEY, Answer, Script

CONFIG = (
    '<View><Text name="t" value="$text"/><Choices name="c" toName="t">'
    '<Choice value="A"/><Choice value="B"/></Choices></View>'
)
OURS = "http://backend.example:9090"


class Studio(Script):
    """Projects, models and webhooks, as far as a connection changes them."""

    def __init__(self) -> None:
        super().__init__()
        self.projects: dict[int, dict[str, Any]] = {}
        self.models: dict[int, dict[str, Any]] = {}
        self.webhooks: dict[int, dict[str, Any]] = {}
        self.rows: dict[str, int] = {}
        self.model_state = "CO"
        self.refuses_models = False
        self.answer = self._respond
        self.add_project(3)

    def add_project(self, number: int, **values: Any) -> None:
        self.projects[number] = {
            "id": number,
            "label_config": CONFIG,
            "sampling": "Sequential sampling",
            "model_version": "former",
        } | values

    def add(self, table: dict[int, dict[str, Any]], **values: Any) -> dict[str, Any]:
        number = max(table, default=0) + 1
        table[number] = {"id": number, "project": 3, "headers": {}, "actions": [], **values}
        return table[number]

    def changed(self) -> list[tuple[str, str]]:
        return [(method, path) for method, path, _ in self.asked if method != "GET"]

    def _respond(self, method: str, path: str, _authorization: str | None) -> Answer:
        status, content = self._answer(method, path, json.loads(self.bodies[-1] or b"null"))
        return status, {}, json.dumps(content).encode()

    def _answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        where = path.split("?")[0].strip("/").split("/")[1:]
        number = int(where[1]) if len(where) > 1 and where[1].isdigit() else None
        if where[0] == "version":
            return 200, {"release": "1.23.2"}
        if where[0] == "projects" and number is None:
            return 200, {"results": list(self.projects.values()), "next": None}
        if where[-1] == "model-versions":
            if method == "DELETE":
                self.rows.pop(body["model_version"])
            return 200, dict(self.rows)
        if where[0] == "projects" and number is not None:
            former = body is not None and body.get("model_version") == "former"
            if former and "former" not in self.rows:
                return 400, {"detail": "no such version"}
            self.projects[number] |= body or {}
            return 200, self.projects[number]
        table = self.models if where[0] == "ml" else self.webhooks
        if method == "POST":
            made = self.add(table, **body, state=self.model_state)
            return (403, {}) if table is self.models and self.refuses_models else (201, made)
        if number is None:
            return 200, list(table.values())
        if number not in table:
            return 404, {}
        if method == "DELETE":
            del table[number]
            return 200, {}
        table[number] |= body or {}
        return 200, table[number]


@pytest.fixture
def studio() -> Iterator[Studio]:
    server = Studio()
    yield server
    server.close()


@pytest.fixture
def settings(studio: Studio, tmp_path: Path) -> Settings:
    return load_settings(
        label_studio_url=studio.url,
        label_studio_api_key=KEY,
        model_dir=tmp_path,
        backend_url=OURS,
    )


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    opened = Store(settings.store_url)
    yield opened
    opened.close()


@pytest.fixture
def client(settings: Settings) -> Iterator[LabelStudioClient]:
    opened = LabelStudioClient(settings)
    yield opened
    opened.close()


@pytest.fixture
def connection(client: LabelStudioClient, store: Store, settings: Settings) -> Connection:
    return Connection(client, store, settings, 3)


def test_connect_registers_once_and_disconnect_restores_all(
    studio: Studio, store: Store, connection: Connection
) -> None:
    studio.rows = {"former": 1}
    other = studio.add(studio.webhooks, url="http://elsewhere.example/", send_for_all_actions=True)
    first = connection.connect(pull=False)
    assert [line.split()[0] for line in first] == ["model", "webhook", "the"]
    assert connection.connect(pull=False)[0] == "model 1 was there already"
    assert [one["url"] for one in studio.models.values()] == [OURS]
    webhook = studio.webhooks[2]
    assert webhook["url"] == f"{OURS}/webhook"
    project = store.known_project(3)
    assert webhook["headers"] == {SECRET_HEADER: project.webhook_secret}
    assert (project.status, project.mode, project.backend_id, project.webhook_id) == (
        "active", "push", 1, 2,
    )  # fmt: skip
    assert studio.projects[3]["sampling"] == "Uncertainty sampling"

    studio.projects[3]["model_version"] = "al-1"
    studio.rows["al-1"] = 4
    done = connection.disconnect()
    assert "model 1 removed" in done
    assert "webhook 2 removed" in done
    assert "4 queue rows removed" in done
    assert studio.projects[3]["sampling"] == "Sequential sampling"
    assert studio.projects[3]["model_version"] == "former"
    assert (studio.models, studio.webhooks, studio.rows) == ({}, {1: other}, {"former": 1})
    assert store.known_project(3).status == "disconnected"


def test_a_former_version_that_is_gone_is_not_restored(
    studio: Studio, connection: Connection
) -> None:
    connection.connect(pull=True)
    assert connection.disconnect()[0].endswith("model_version '' again")


def test_pull_registers_nothing(studio: Studio, store: Store, connection: Connection) -> None:
    assert connection.connect(pull=True) == ["the annotation stream is ordered (by polling only)"]
    assert studio.changed() == [("PATCH", "/api/projects/3/")]
    assert store.known_project(3).mode == "pull"


def test_half_made_connections_and_left_over_webhooks_are_repaired(
    studio: Studio, connection: Connection
) -> None:
    for _ in range(2):
        studio.add(studio.models, url=f"{OURS}/", state="CO")
        studio.add(studio.webhooks, url=f"{OURS}/webhook")
    studio.add(studio.webhooks, url="http://old.example/webhook", headers={SECRET_HEADER: "x"})
    done = connection.connect(pull=False)
    assert "duplicate model 2 removed" in done
    assert {"orphan webhook 2 removed", "orphan webhook 3 removed"} <= set(done)
    assert (list(studio.models), list(studio.webhooks)) == ([1], [1])


def test_own_settings_are_checked_before_anything_is_changed(
    studio: Studio, store: Store, connection: Connection
) -> None:
    def refuse(_settings: Settings, task: Any, params: Any) -> None:
        raise ParameterError(f"{task.control.problem_type}: {sorted(params)}")

    with pytest.raises(ParameterError, match=r"classification: \['strategy'\]"):
        connection.connect(pull=False, params={"strategy": "x"}, check_params=refuse)
    with pytest.raises(TypeError, match="check_params"):
        connection.connect(pull=False, params={"strategy": "x"})
    assert studio.changed() == []
    assert store.projects() == []
    done = connection.connect(
        pull=False, params={"strategy": "margin"}, check_params=lambda *_: None
    )
    assert done[0] == "settings of its own: strategy"
    assert studio.models[1]["extra_params"] == {"strategy": "margin"}
    assert store.known_project(3).params == {"strategy": "margin"}


def test_a_config_that_cannot_be_learned_changes_nothing(
    studio: Studio, store: Store, connection: Connection
) -> None:
    studio.projects[3]["label_config"] = "<View/>"
    with pytest.raises(LabelConfigError):
        connection.connect(pull=False)
    assert studio.changed() == []
    assert store.projects() == []


def test_address_protection_is_named_and_leaves_no_half_made_model(
    studio: Studio, connection: Connection
) -> None:
    studio.refuses_models = True
    with pytest.raises(ConnectionRefusedByLabelStudioError, match="SSRF_PROTECTION_ENABLED"):
        connection.connect(pull=False)
    assert studio.models == {}


def test_an_address_that_is_not_reached_is_named(studio: Studio, connection: Connection) -> None:
    studio.model_state = "DI"
    with pytest.raises(LabelStudioError, match=f"cannot reach {OURS}"):
        connection.connect(pull=False)


def test_pause_and_resume(studio: Studio, store: Store, connection: Connection) -> None:
    with pytest.raises(StoreError, match="not connected"):
        connection.pause()
    studio.projects[3]["sampling"] = "Uniform sampling"
    connection.connect(pull=True)
    assert connection.pause() == ["paused: the sampling is 'Uniform sampling' again"]
    assert (studio.projects[3]["sampling"], store.known_project(3).status) == (
        "Uniform sampling", "paused",
    )  # fmt: skip
    connection.resume()
    assert (studio.projects[3]["sampling"], store.known_project(3).status) == (
        "Uncertainty sampling", "active",
    )  # fmt: skip


def test_only_the_webhook_to_us_is_secured(
    studio: Studio, store: Store, connection: Connection
) -> None:
    store.register(3)
    connection.secure_webhook("a secret")
    assert store.known_project(3).webhook_id is None
    studio.add(studio.webhooks, url="http://elsewhere.example/")
    studio.add(studio.webhooks, url=f"{OURS}/webhook", headers={"X-Other": "1"})
    connection.secure_webhook("a secret")
    assert studio.webhooks[1]["headers"] == {}
    assert studio.webhooks[2]["headers"] == {"X-Other": "1", SECRET_HEADER: "a secret"}
    assert store.known_project(3).webhook_id == 2


def test_projects_that_label_studio_shows_to_be_ours_are_recovered(
    studio: Studio, client: LabelStudioClient, store: Store, settings: Settings
) -> None:
    studio.add_project(4, model_version="al-12")
    studio.add(studio.models, url=OURS, state="CO")
    assert recover_projects(client, store, settings) == [4]
    project = store.known_project(4)
    assert (project.round, project.queue_version, project.backend_id) == (12, "al-12", 1)
    assert [one.id for one in store.projects()] == [4]


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(TextFormatter())
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


def test_a_command_on_a_project_logs_its_number(
    studio: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = Lines()
    logger = logging.getLogger("active_learn_backend.labelstudio.connection")
    monkeypatch.setattr(logger, "handlers", [lines])
    monkeypatch.setattr(logger, "level", logging.INFO)
    environment = {
        "LABEL_STUDIO_URL": studio.url, "LABEL_STUDIO_API_KEY": KEY, "MODEL_DIR": str(tmp_path),
    }  # fmt: skip
    done = CliRunner().invoke(main, ["connect", "--project", "3", "--pull"], env=environment)
    assert done.exit_code == 0, done.output
    assert "project 3: the annotation stream is ordered (by polling only)" in done.output
    (line,) = lines.lines
    assert line.endswith(".connection: project 3: the stream is ordered from now on")
