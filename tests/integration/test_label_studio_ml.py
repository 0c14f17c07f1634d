"""The plugin class under other hosts: label-studio-ml 1.0.9 (the real one) and 2.x (a stand-in).

The 2.x line is not on PyPI: `tests/support/host_2x.py` stands for it.
"""

from __future__ import annotations

import base64
import importlib.util
import os
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import active_learn_backend.web.ml_backend as real
import label_studio_ml.model
import pytest
from active_learn.heads import fit_head
from active_learn_backend.labelstudio.registration import SECRET_HEADER
from active_learn_backend.learning.encoders import TextEncoder
from active_learn_backend.settings import load_settings
from active_learn_backend.state.connection_requests import read_connection_requests
from flask.testing import FlaskClient
from host_2x import Base2, init_app
from label_studio_ml import exceptions

CONFIG = (
    '<View><Text name="t" value="$text"/><Choices name="c" toName="t">'
    '<Choice value="A"/><Choice value="B"/></Choices></View>'
)
ROOT = Path(__file__).parents[2]
TASKS = [{"id": 1, "data": {"text": "two pears"}}, {"id": 2, "data": {"text": "a fast car"}}]


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[real.Runtime]:
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    monkeypatch.delenv("LABEL_STUDIO_API_KEY", raising=False)
    runtime = real.Runtime.open(load_settings())
    yield runtime
    runtime.store.close()


@pytest.fixture
def module_2x(environment: real.Runtime, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Our module, loaded again on top of the 2.x base class."""
    monkeypatch.setattr(Base2, "_cache", {})
    monkeypatch.setattr(label_studio_ml.model, "LabelStudioMLBase", Base2)
    name = "active_learn_backend.web._model_under_2x"
    spec = importlib.util.spec_from_file_location(name, real.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    module.environment_settings.cache_clear()
    return module


def train(runtime: real.Runtime, project: int) -> None:
    texts = ["apples and pears", "pears and apples", "red cars", "fast cars"]
    head = fit_head(
        "classification",
        ["A", "B"],
        TextEncoder().encode(texts),
        ["A", "A", "B", "B"],
        round=2,
        encoder=TextEncoder.fingerprint,
    )
    assert head is not None
    head.save(runtime.settings.model_dir / "projects" / str(project) / "heads")
    runtime.store.update(project, head_round=2)


UID = "5.1795327219"
PREDICT = {
    "tasks": TASKS,
    "project": UID,
    "label_config": CONFIG,
    "params": {"login": None, "password": None, "context": None},
}
PROJECT = {"id": 5, "label_config": CONFIG}
CREATED = {"action": "ANNOTATION_CREATED", "project": PROJECT, "annotation": {}}
TRAIN = {"action": "START_TRAINING", "project": PROJECT}


@pytest.fixture
def server(module_2x: types.ModuleType) -> Iterator[FlaskClient]:
    yield init_app(module_2x.ActiveLearningModel).test_client()
    module_2x._environment_runtime().store.close()


def test_2x_hosts_the_class_with_the_same_answers(
    environment: real.Runtime, module_2x: types.ModuleType, server: FlaskClient
) -> None:
    environment.store.register(5, CONFIG)
    setup = {"project": UID, "schema": CONFIG, "extra_params": None}
    assert server.post("/setup", json=setup).get_json() == {"model_version": "head-0"}
    train(environment, 5)
    assert server.post("/setup", json=setup).get_json() == {"model_version": "head-2"}

    answers = server.post("/predict", json=PREDICT).get_json()["results"]
    ours = real.ActiveLearningModel(UID, runtime=environment).predict(TASKS)
    assert answers == ours
    assert [one["result"][0]["value"]["choices"] for one in answers] == [["A"], ["B"]]

    chosen = answers[0]["result"]
    context = {"annotation_id": None, "draft_id": 0, "user_id": 1, "result": chosen}
    asked = PREDICT | {"params": {"context": context}}
    again = server.post("/predict", json=asked).get_json()["results"]
    assert [one["result"] for one in again] == [[], []]  # it is answered already

    secret = {SECRET_HEADER: environment.store.known_project(5).webhook_secret}
    environment.store.update(5, pending_requests=0)
    before = environment.store.known_project(5).change_seq
    assert server.post("/webhook", json=CREATED, headers=secret).status_code == 201
    assert module_2x._environment_runtime().changes.flush(timeout=10)
    assert environment.store.known_project(5).change_seq == before + 1
    assert not environment.store.known_project(5).round_requested
    assert server.post("/webhook", json=TRAIN, headers=secret).status_code == 201
    assert environment.store.known_project(5).round_requested


def test_2x_connects_nothing_by_a_request(environment: real.Runtime, server: FlaskClient) -> None:
    """It calls `setup()` on every request: a single /predict registered an unknown project."""
    refused = server.post("/predict", json=PREDICT)
    assert refused.status.startswith("400 project 5 is not connected; add this backend")
    assert "Traceback" not in refused.get_data(as_text=True)
    assert server.post("/webhook", json=CREATED).status_code == 401
    assert read_connection_requests(environment.store) == []
    setup = {"project": UID, "schema": CONFIG, "extra_params": {"strategy": "margin"}}
    assert server.post("/setup", json=setup).status_code == 200
    assert environment.store.projects() == []
    assert [one.project_id for one in read_connection_requests(environment.store)] == [5]


def test_2x_asks_the_worker_about_emptied_params(
    environment: real.Runtime, server: FlaskClient
) -> None:
    """It calls `set_extra_params` only when there are some."""
    environment.store.register(5, CONFIG, params={"strategy": "margin"})
    setup = {"project": UID, "schema": CONFIG, "extra_params": {"strategy": "margin"}}
    server.post("/setup", json=setup)
    assert read_connection_requests(environment.store) == []
    server.post("/setup", json=setup | {"extra_params": None})
    assert [one.project_id for one in read_connection_requests(environment.store)] == [5]
    assert environment.store.known_project(5).params == {"strategy": "margin"}


def test_2x_says_refusals_in_the_reason_phrase(
    environment: real.Runtime, server: FlaskClient
) -> None:
    setup = {"project": UID, "schema": CONFIG, "extra_params": None}
    bad: list[tuple[str, dict[str, Any], str]] = [
        ("/setup", setup | {"schema": "<View/>"}, "400 the labeling config has no control"),
        ("/setup", setup | {"extra_params": {"k": 1}}, "400 the extra params have 'k', which no"),
        ("/setup", setup | {"project": "x"}, "400 project 'x' is no project id"),
        ("/predict", PREDICT | {"label_config": "<View"}, "400 the labeling config cannot be read"),
        ("/webhook", CREATED | {"project": PROJECT | {"label_config": "<"}}, "400 the labeling"),
    ]
    for path, body, said in bad:
        answer = server.post(path, json=body)
        assert answer.status.startswith(said), (path, answer.status)
        assert "Traceback" not in answer.get_data(as_text=True)
    foreign = {"Origin": "http://evil.example"}
    for path, body in (("/setup", setup), ("/predict", PREDICT), ("/webhook", CREATED)):
        assert server.post(path, json=body, headers=foreign).status_code == 403
    assert environment.store.projects() == []


def test_2x_with_a_password_that_its_server_does_not_know(
    environment: real.Runtime, server: FlaskClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its server reads BASIC_AUTH_PASS, and no file."""
    (tmp_path / "password").write_text("p")
    monkeypatch.setenv("BASIC_AUTH_USER", "u")
    monkeypatch.setenv("BASIC_AUTH_PASS_FILE", str(tmp_path / "password"))
    environment.store.register(5, CONFIG)
    setup = {"project": UID, "schema": CONFIG, "extra_params": None}
    right = {"Authorization": "Basic " + base64.b64encode(b"u:p").decode()}
    wrong = {"Authorization": "Basic " + base64.b64encode(b"u:q").decode()}
    requests = (("/setup", setup, 200), ("/predict", PREDICT, 200), ("/webhook", CREATED, 201))
    for path, body, status in requests:
        assert server.post(path, json=body, headers=right).status_code == status
        for headers in ({}, wrong):
            assert server.post(path, json=body, headers=headers).status_code == 401


def test_2x_takes_no_project_for_none(server: FlaskClient) -> None:
    """Its own tests send /predict without a project, which it writes as "None"."""
    body = {"tasks": TASKS, "label_config": CONFIG}
    answer = server.post("/predict", json=body)
    assert answer.status_code == 200
    empty = {"result": [], "score": 0.0, "model_version": "head-0"}
    assert answer.get_json()["results"] == [empty, empty]


def test_2x_writes_its_version_only_when_it_changes(
    environment: real.Runtime, server: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each write is a commit to a database within an annotator's submit."""
    written: list[tuple[str, str]] = []
    write = Base2.set
    monkeypatch.setattr(
        Base2,
        "set",
        lambda self, key, value: (written.append((key, value)), write(self, key, value)),
    )
    environment.store.register(5, CONFIG)
    for _ in range(3):
        server.post("/predict", json=PREDICT)
    assert written == [("model_version", "head-0")]
    train(environment, 5)
    for _ in range(3):
        server.post("/predict", json=PREDICT)
    assert written == [("model_version", "head-0"), ("model_version", "head-2")]


def test_1_0_9_trains_through_process_event(
    environment: real.Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    real.environment_settings.cache_clear()
    real._environment_runtime.cache_clear()
    model = real.ActiveLearningModel(label_config=CONFIG)
    assert model.label_config == CONFIG
    environment.store.register(6)
    before = environment.store.known_project(6).change_seq
    data = {"project": {"id": 6}, "annotation": {}}
    model.process_event("ANNOTATION_CREATED", data, "job", {})
    assert real._environment_runtime().changes.flush(timeout=10)
    assert environment.store.known_project(6).change_seq == before + 1
    assert model.predict(TASKS) == [{"result": [], "score": 0.0, "model_version": "head-0"}] * 2
    real.environment_settings.cache_clear()
    real._environment_runtime.cache_clear()


def test_the_folder_in_the_layout_of_2x_runs_there(tmp_path: Path) -> None:
    """Its own tests, with the stand-in as the package."""
    package = tmp_path / "label_studio_ml"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "exceptions.py").write_text(Path(exceptions.__file__).read_text())
    (package / "model.py").write_text("from host_2x import Base2 as LabelStudioMLBase\n")
    (package / "api.py").write_text("from host_2x import init_app\n")
    found = [str(tmp_path), str(ROOT / "tests" / "support"), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "-p", "no:cacheprovider"],
        cwd=ROOT / "docker" / "ml-backend",
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(found),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "6 passed" in done.stdout
