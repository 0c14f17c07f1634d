"""The web process answers Label Studio's requests, and refuses bad ones in one line."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from active_learn.heads import fit_head
from active_learn_backend.learning.encoders import TextEncoder
from active_learn_backend.settings import load_settings
from active_learn_backend.state.round_report import RoundReport
from active_learn_backend.state.rounds import finish_round
from active_learn_backend.state.store import Store
from active_learn_backend.web import app as web_app
from active_learn_backend.web.app import create_app
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

PAYLOADS = Path(__file__).parents[3] / "shared" / "label-studio" / "payloads"
CONFIG = (
    '<View><Text name="t" value="$text"/><Choices name="c" toName="t">'
    '<Choice value="A"/><Choice value="B"/></Choices></View>'
)
UID = "9.1795327219"


pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest.fixture
def store(app: Flask) -> Iterator[Store]:
    return app.extensions["active_learn"].store


def setup_body(config: str = CONFIG, **fields: Any) -> dict[str, Any]:
    return {
        "project": UID,
        "schema": config,
        "hostname": "http://127.0.0.1:8080",
        "access_token": "0123",
        "extra_params": None,
    } | fields


def predict_body(*texts: Any) -> dict[str, Any]:
    tasks = [{"id": n, "data": {"text": text}, "annotations": []} for n, text in enumerate(texts)]
    params = {"login": None, "password": None, "context": None}
    return {"tasks": tasks, "project": UID, "label_config": CONFIG, "params": params}


def train_head(app: Flask, number: int = 3) -> None:
    """Put a head in place, as a round of the worker does."""
    runtime = app.extensions["active_learn"]
    texts = ["apples and pears", "pears and apples", "red cars", "fast cars"]
    head = fit_head(
        "classification",
        ["A", "B"],
        TextEncoder().encode(texts),
        ["A", "A", "B", "B"],
        round=number,
        encoder=TextEncoder.fingerprint,
    )
    assert head is not None
    head.save(runtime.settings.model_dir / "projects" / "9" / "heads")
    runtime.store.update(9, head_round=number)


def test_health_says_up(client: FlaskClient) -> None:
    for path in ("/health", "/"):
        answer = client.get(path)
        assert answer.status_code == 200
        said = answer.get_json()
        assert (said["status"], said["model_class"]) == ("UP", "ActiveLearningModel")


def test_setup_registers_once(client: FlaskClient, store: Store) -> None:
    for _ in range(2):
        answer = client.post("/setup", json=setup_body())
        assert answer.status_code == 200
        assert answer.get_json() == {"model_version": "head-0"}
    (project,) = store.projects()
    assert (project.id, project.status) == (9, "active")


def test_setup_refuses_with_a_reason_phrase(client: FlaskClient, store: Store) -> None:
    answer = client.post("/setup", json=setup_body("<View><Text name='t' value='$t'/></View>"))
    assert answer.status.startswith("400 the labeling config has no control that can be learned")
    answer = client.post("/setup", json=setup_body("<View>\n\u2603<"))
    assert answer.status.startswith("400 the labeling config cannot be read")
    assert store.projects() == []


def test_before_a_head_every_task_gets_an_empty_answer(client: FlaskClient) -> None:
    client.post("/setup", json=setup_body())
    answer = client.post("/predict", json=predict_body("x", "y"))
    assert answer.status_code == 200
    empty = {"result": [], "score": 0.0, "model_version": "head-0"}
    assert answer.get_json()["results"] == [empty, empty]


def test_one_answer_per_task_in_order_under_the_heads_version(
    client: FlaskClient, app: Flask
) -> None:
    client.post("/setup", json=setup_body())
    train_head(app)
    texts = ["many pears", "one car", None, "apples", "\ud800 cars"]
    answer = client.post("/predict", json=predict_body(*texts)).get_json()
    labels = [
        one["result"][0]["value"]["choices"] if one["result"] else None for one in answer["results"]
    ]
    assert labels == [["A"], ["B"], None, ["A"], ["B"]]
    assert {one["model_version"] for one in answer["results"]} == {"head-3"}
    assert all(0.5 <= one["score"] <= 1 for one in answer["results"] if one["result"])
    assert answer["results"][2]["score"] == 0.0
    assert client.post("/setup", json=setup_body()).get_json() == {"model_version": "head-3"}
    assert client.get("/versions").get_json() == {"versions": ["head-3"]}
    assert client.get("/versions?project=10").get_json() == {"versions": []}


def test_a_damaged_head_does_not_break_answers(client: FlaskClient, app: Flask) -> None:
    client.post("/setup", json=setup_body())
    train_head(app)
    folder = app.extensions["active_learn"].settings.model_dir / "projects" / "9" / "heads"
    (folder / "head-3.safetensors").write_bytes(b"broken")
    answer = client.post("/predict", json=predict_body("x"))
    assert answer.status_code == 200
    assert answer.get_json()["results"][0]["result"] == []


def test_webhooks_only_mark(client: FlaskClient, app: Flask, store: Store) -> None:
    changes = app.extensions["active_learn"].changes
    client.post("/setup", json=setup_body())
    finish_round(store, 9, RoundReport(1, labeled=0), labels=0, tasks=0)
    for action in ("ANNOTATION_CREATED", "TASKS_DELETED", "SOMETHING_NEW"):
        before = store.known_project(9).change_seq
        answer = client.post("/webhook", json={"action": action, "project": {"id": 9}})
        assert answer.status_code == 200
        assert changes.flush(timeout=10)
        assert store.known_project(9).change_seq == before + 1
        assert not store.known_project(9).round_requested
    client.post("/webhook", json={"action": "START_TRAINING", "project": {"id": 9}})
    assert store.known_project(9).round_requested
    unknown = client.post("/webhook", json={"action": "TASKS_CREATED", "project": {"id": 77}})
    assert unknown.status_code == 200
    assert changes.flush(timeout=10)
    assert [project.id for project in store.projects()] == [9]


BAD = [
    (b"", "no JSON"),
    (b"not json", "no JSON"),
    (b"\xff\xfe", "no JSON"),
    (b"[" * 100_000, "no JSON"),
    (b"[" * 500 + b"]" * 500, "nested more than 100 levels deep"),
    (b'{"project": NaN}', "no JSON"),
    (b'{"project": 1e999}', "no JSON"),
    (b'{"project": "\xed\xa0\x80"}', "no JSON"),
    (b"[]", "the body"),
    (b"null", "the body"),
    (b"{}", "Field required"),
]


@pytest.mark.parametrize("path", ["/setup", "/predict", "/webhook", "/train"])
@pytest.mark.parametrize(("body", "said"), BAD, ids=[str(n) for n in range(len(BAD))])
def test_bad_bodies_are_400_in_one_line_and_change_nothing(
    client: FlaskClient, store: Store, path: str, body: bytes, said: str
) -> None:
    answer = client.post(path, data=body, content_type="application/json")
    assert answer.status_code == 400
    message = answer.get_json()["error"]
    assert said in message
    assert "\n" not in message
    assert "Traceback" not in answer.get_data(as_text=True)
    assert store.projects() == []


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/setup", setup_body(project="abc")),
        ("/setup", setup_body(project="9" * 5000)),
        ("/setup", setup_body(project={"id": 9})),
        ("/setup", setup_body(schema=None)),
        ("/setup", setup_body(extra_params={"encoder": "\ud800"})),
        ("/setup", setup_body(extra_params={"model": "x" * 300})),
        ("/setup", setup_body(extra_params={"encoder": "\u00e9" * 90})),
        ("/predict", predict_body("x") | {"tasks": "x"}),
        ("/predict", predict_body("x") | {"tasks": [3]}),
        ("/predict", predict_body("x") | {"tasks": [{"id": 1}]}),
        ("/predict", predict_body("x") | {"project": None}),
        ("/predict", predict_body("x") | {"project": "../../etc"}),
        ("/predict", predict_body("x") | {"label_config": "<View"}),
        ("/webhook", {"action": "X", "project": {"id": 0}}),
        ("/webhook", {"action": "X", "project": {"id": 2**63}}),
        ("/webhook", {"action": "X" * 101, "project": {"id": 1}}),
        ("/webhook", {"action": "X"}),
        ("/train", {"project": "x"}),
    ],
)
def test_bad_fields_are_400(client: FlaskClient, store: Store, path: str, body: Any) -> None:
    answer = client.post(path, json=body)
    assert answer.status_code == 400
    assert answer.get_json()["error"]
    assert store.projects() == []


def test_unknown_paths_and_methods_answer_json(client: FlaskClient) -> None:
    assert client.get("/nothing").status_code == 404
    assert client.get("/setup").status_code == 405
    assert "error" in client.get("/nothing").get_json()
    assert client.get("/versions?project=..%2F..").status_code == 400


def test_a_request_that_is_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_app, "MAX_REQUEST_BYTES", 1000)
    small = create_app(load_settings(model_dir=tmp_path)).test_client()
    answer = small.post("/webhook", data=b"x" * 5000)
    assert answer.status_code == 413
    assert "error" in answer.get_json()


def test_basic_auth_guards_every_route(tmp_path: Path) -> None:
    app = create_app(load_settings(model_dir=tmp_path, basic_auth_user="u", basic_auth_pass="p:ä"))
    client = app.test_client()
    routes = [rule for rule in app.url_map.iter_rules() if rule.endpoint != "static"]
    assert len(routes) >= 7
    for rule in routes:
        method = "POST" if "POST" in rule.methods else "GET"
        assert client.open(rule.rule, method=method).status_code == 401
    token = base64.b64encode("u:p:ä".encode()).decode()
    right = {"Authorization": f"Basic {token}"}
    assert client.get("/health", headers=right).status_code == 200
    wrong = {"Authorization": "Basic " + base64.b64encode(b"u:q").decode()}
    assert client.get("/health", headers=wrong).status_code == 401
    assert client.get("/health", headers={"Authorization": "Basic %%%"}).status_code == 401

    store = app.extensions["active_learn"].store
    store.register(9)
    secret = store.known_project(9).webhook_secret
    store.register(10)
    body = {"action": "X", "project": {"id": 9}}
    bears = {"X-Active-Sampler-Secret": secret}
    assert client.post("/webhook", json=body, headers=bears).status_code == 200
    other = body | {"project": {"id": 10}}
    assert client.post("/webhook", json=other, headers=bears).status_code == 401
    assert client.get("/versions", headers=bears).status_code == 401


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
fields = st.sampled_from(["project", "tasks", "schema", "label_config", "action", "params", "id"])


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(["/setup", "/predict", "/webhook", "/train"]),
    body=json_values | st.dictionaries(fields, json_values, max_size=6),
)
def test_no_body_makes_an_internal_error(client: FlaskClient, path: str, body: Any) -> None:
    answer = client.post(path, data=json.dumps(body), content_type="application/json")
    assert answer.status_code in (200, 400)


@pytest.mark.skipif(not PAYLOADS.is_dir(), reason="../shared with recorded payloads is not here")
def test_recorded_requests_of_label_studio(client: FlaskClient, app: Flask) -> None:
    client.post("/setup", json=setup_body())
    train_head(app)
    recorded = [json.loads(path.read_text()) for path in sorted(PAYLOADS.glob("*.json"))]
    requests = [one for one in recorded if "path" in one]
    assert len(requests) >= 15
    for request in requests:
        answer = client.open(request["path"], method=request["method"], json=request["body"])
        image_config = "Image" in str((request["body"] or {}).get("label_config"))
        if (request["body"] or {}).get("extra_params") == {"k": "v", "n": 1}:
            assert answer.status.startswith("400 the extra params have 'k', which no project can")
            continue
        assert answer.status_code == 200, (request["path"], answer.get_data(as_text=True))
        if request["path"] == "/predict" and not image_config:
            results = answer.get_json()["results"]
            assert len(results) == len(request["body"]["tasks"])
            assert np.isfinite([one["score"] for one in results]).all()


def test_the_document_describes_every_route_of_the_protocol(
    app: Flask, client: FlaskClient
) -> None:
    document = client.get("/openapi.json").get_json()
    described = {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method in operations
    }
    routed = {
        (method, rule.rule)
        for rule in app.url_map.iter_rules()
        for method in rule.methods - {"HEAD", "OPTIONS"}
        # Of the status page, which is for browsers, only what Label Studio asks for is described.
        if rule.endpoint != "static"
        and (rule.rule == "/" or not rule.endpoint.startswith("pages."))
    }
    assert described == routed
    assert len(described) == 9
    for path in ("/setup", "/predict", "/webhook", "/train"):
        operation = document["paths"][path]["post"]
        model = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        assert model.rpartition("/")[2] in document["components"]["schemas"]
        assert {"200", "400", "401", "413", "503"} == set(operation["responses"])
