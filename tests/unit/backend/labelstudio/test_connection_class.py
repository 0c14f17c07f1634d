"""Connecting a project and taking it back, against a small Label Studio that keeps its state."""

from __future__ import annotations

import base64
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
from active_learn_backend.labelstudio.registration import (
    PROJECT_HEADER,
    SECRET_HEADER,
    Registration,
)
from active_learn_backend.logs import TextFormatter
from active_learn_backend.settings import Settings
from active_learn_backend.state.store import Store
from click.testing import CliRunner
from fake_server import KEY, Answer, Script
from fake_studio import OURS, Studio
from pydantic import SecretStr


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
    assert [line.split()[0] for line in first] == ["model", "webhook", "the", "its"]
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
    assert connection.connect(pull=True) == [
        "the annotation stream is ordered (by polling only)",
        "its tasks are learned: Choices 'c' (classification)",
    ]
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
        raise ParameterError(f"{task.controls[0].problem_type}: {sorted(params)}")

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


FAILURES = [
    ("POST", "/api/ml/"),
    ("GET", "/api/webhooks/"),
    ("POST", "/api/webhooks/"),
    ("PATCH", "/api/webhooks/"),
    ("PATCH", "/api/projects/"),
]


@pytest.mark.parametrize("fails", FAILURES, ids=[" ".join(one) for one in FAILURES])
def test_a_failed_connect_leaves_nothing_half_done(
    studio: Studio, store: Store, connection: Connection, fails: tuple[str, str]
) -> None:
    other = studio.add(studio.webhooks, url="http://elsewhere.example/", send_for_all_actions=True)
    studio.fails = fails
    with pytest.raises(LabelStudioError, match="500"):
        connection.connect(pull=False, params={"budget": 5}, check_params=lambda *_: None)
    assert store.projects() == []
    assert (studio.models, studio.webhooks) == ({}, {1: other})
    assert studio.projects[3]["sampling"] == "Sequential sampling"
    studio.fails = None
    connection.connect(pull=False)
    project = store.known_project(3)
    assert (project.status, project.former_model_version) == ("active", "former")


def test_a_project_is_taken_up_by_no_worker_before_all_is_registered(
    studio: Studio, store: Store, connection: Connection
) -> None:
    """A worker took the stream over between the registration here and its failure there."""
    seen = []
    respond = studio.answer

    def answer(method: str, path: str, authorization: str | None) -> Answer:
        seen.extend(project.status for project in store.projects())
        return respond(method, path, authorization)

    studio.answer = answer
    connection.connect(pull=False)
    assert set(seen) == {"disconnected"}
    assert store.known_project(3).status == "active"


def test_a_failed_repair_leaves_the_connection_as_it_was(
    studio: Studio, store: Store, connection: Connection
) -> None:
    connection.connect(pull=False)
    before = store.known_project(3)
    studio.fails = ("PATCH", "/api/webhooks/")
    with pytest.raises(LabelStudioError):
        connection.connect(pull=False)
    assert store.known_project(3) == before
    assert (len(studio.models), len(studio.webhooks)) == (1, 1)


def test_an_interrupted_connect_leaves_nothing(
    studio: Studio, store: Store, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_remote: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(connection, "order_stream", interrupt)
    with pytest.raises(KeyboardInterrupt):
        connection.connect(pull=False)
    assert (store.projects(), studio.models, studio.webhooks) == ([], {}, {})


def test_the_models_requests_bear_the_secret_or_basic_auth(
    studio: Studio, store: Store, client: LabelStudioClient, settings: Settings
) -> None:
    Connection(client, store, settings, 3).connect(pull=False)
    secret = store.known_project(3).webhook_secret
    assert studio.models[1]["basic_auth_user"] == "active-sampler"
    assert studio.models[1]["basic_auth_pass"] == secret
    assert studio.webhooks[1]["headers"] == {SECRET_HEADER: secret}
    own = settings.model_copy(
        update={"basic_auth_user": "team", "basic_auth_pass": SecretStr("a: b")}
    )
    Connection(client, store, own, 3).connect(pull=False)
    assert studio.models[1]["basic_auth_user"] == "team"
    assert studio.models[1]["basic_auth_pass"] == "a: b"
    # label-studio-ml 2.x takes no webhook without Basic auth.
    token = base64.b64encode(b"team:a: b").decode()
    expected = {SECRET_HEADER: secret, "Authorization": f"Basic {token}"}
    assert studio.webhooks[1]["headers"] == expected
    # Without Basic auth again, a password of former times goes.
    Connection(client, store, settings, 3).connect(pull=False)
    assert studio.webhooks[1]["headers"] == {SECRET_HEADER: secret}


def test_events_hold_no_more_than_the_server_reads(
    studio: Studio, store: Store, client: LabelStudioClient, settings: Settings
) -> None:
    """Label Studio writes the whole project into an event, and a submit waits for that."""
    server = Script()
    health: dict[str, Any] = {"status": "UP", "degraded": []}
    server.answer = lambda *_: (200, {}, json.dumps(health).encode())
    there = settings.model_copy(update={"backend_url": server.url})
    try:
        Connection(client, store, there, 3).connect(pull=False)
        secret = store.known_project(3).webhook_secret
        assert studio.webhooks[1]["send_payload"] is False
        assert studio.webhooks[1]["headers"] == {SECRET_HEADER: secret, PROJECT_HEADER: "3"}
        del health["degraded"]  # the server of label-studio-ml 2.x
        Connection(client, store, there, 3).connect(pull=False)
        assert studio.webhooks[1]["send_payload"] is True
        assert studio.webhooks[1]["headers"] == {SECRET_HEADER: secret}
    finally:
        server.close()
    Connection(client, store, there, 3).connect(pull=False)  # it cannot be asked
    assert studio.webhooks[1]["send_payload"] is True


@pytest.mark.parametrize(
    ("url", "ours"),
    [
        ("http://localhost:9090/", True),
        ("http://127.0.0.1:9090", True),
        ("http://[::1]:9090", True),
        ("http://localhost:9091", False),
        ("https://localhost:9090", False),
        ("http://localhost:9090/other", False),
        ("http://localhost.example:9090", False),
        ("http://localhost:port", False),
        ("http://[", False),
    ],
)
def test_the_names_of_this_machine_are_one_address(
    client: LabelStudioClient, settings: Settings, url: str, ours: bool
) -> None:
    here = Registration(client, settings.model_copy(update={"backend_url": ""}), 3)
    assert here.is_our_model({"url": url}) is ours


def test_address_protection_is_named_and_leaves_no_half_made_model(
    studio: Studio, connection: Connection
) -> None:
    studio.refuses_models = True
    with pytest.raises(ConnectionRefusedByLabelStudioError, match="SSRF_PROTECTION_ENABLED"):
        connection.connect(pull=False)
    assert studio.models == {}


def test_an_address_that_is_not_reached_is_named(
    studio: Studio, store: Store, connection: Connection
) -> None:
    studio.model_state = "DI"
    with pytest.raises(LabelStudioError, match=f"cannot reach {OURS}"):
        connection.connect(pull=False)
    assert (studio.models, store.projects()) == ({}, [])


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
    studio.add(studio.models, url=OURS, state="CO", project=4)
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
