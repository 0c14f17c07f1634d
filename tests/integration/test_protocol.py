"""The web process answers Label Studio's requests, each as it should."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest
from active_learn.heads import fit_head
from active_learn_backend.errors import StoreError
from active_learn_backend.labelstudio.registration import PROJECT_HEADER, SECRET_HEADER
from active_learn_backend.learning.encoders import TextEncoder
from active_learn_backend.state.connection_requests import (
    MOST_REQUESTS,
    read_connection_requests,
)
from active_learn_backend.state.round_report import RoundReport
from active_learn_backend.state.rounds import finish_round
from active_learn_backend.state.store import Store
from active_learn_backend.web.ml_backend import project_number
from flask import Flask
from flask.testing import FlaskClient
from protocol_requests import CONFIG, predict_body, secret_of, setup_body

PAYLOADS = Path(__file__).parents[3] / "shared" / "label-studio" / "payloads"


pytestmark = pytest.mark.usefixtures("clean_environment")


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


def test_setup_connects_nothing_by_itself(client: FlaskClient, store: Store) -> None:
    for _ in range(2):
        answer = client.post("/setup", json=setup_body(extra_params={"budget": 1000}))
        assert answer.status_code == 200
        assert answer.get_json() == {"model_version": "head-0"}
    assert store.projects() == []
    assert [request.project_id for request in read_connection_requests(store)] == [9]


def test_a_setup_of_a_known_project_asks_only_about_other_params(
    client: FlaskClient, connected: Store
) -> None:
    for params in (None, "", {}):
        assert client.post("/setup", json=setup_body(extra_params=params)).status_code == 200
    assert read_connection_requests(connected) == []
    client.post("/setup", json=setup_body(extra_params={"budget": 1000}))
    assert connected.known_project(9).params == {}
    assert [request.project_id for request in read_connection_requests(connected)] == [9]


def test_invented_projects_are_few(client: FlaskClient, store: Store) -> None:
    for number in range(1, MOST_REQUESTS + 1):
        answer = client.post("/setup", json=setup_body(project=str(number)))
        assert answer.status_code == 200
    answer = client.post("/setup", json=setup_body(project="5000"))
    assert answer.status.startswith("429 project 5000 is not connected yet: 100 others wait")
    assert len(read_connection_requests(store)) == MOST_REQUESTS
    assert store.projects() == []


def test_predict_refuses_what_is_not_connected_in_words(client: FlaskClient, store: Store) -> None:
    answer = client.post("/predict", json=predict_body("x"))
    assert answer.status.startswith("400 project 9 is not connected; add this backend as its model")
    store.register(9, CONFIG, status="disconnected")
    assert client.post("/predict", json=predict_body("x")).status_code == 400


def test_predict_reads_tasks_by_our_config_never_by_the_callers(
    client: FlaskClient, app: Flask, connected: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A config of the caller's made the backend fetch any address of Label Studio."""
    train_head(app)
    runtime = app.extensions["active_learn"]
    loaded: list[str] = []
    monkeypatch.setattr(runtime.content, "load", lambda address: loaded.append(address) or b"x")
    body = predict_body("/api/current-user/token")
    body["label_config"] = CONFIG.replace("/>", ' valueType="url"/>', 1)
    answer = client.post("/predict", json=body).get_json()
    assert answer["results"][0]["result"]
    assert loaded == []


def test_webhooks_need_the_secret_also_without_basic_auth(
    client: FlaskClient, app: Flask, connected: Store
) -> None:
    before = connected.known_project(9)
    connected.register(10)
    wrong: list[dict[str, str]] = [{}, {SECRET_HEADER: "x"}, secret_of(connected, 10)]
    for headers in wrong:
        for action in ("ANNOTATION_CREATED", "START_TRAINING"):
            body = {"action": action, "project": {"id": 9}}
            assert client.post("/webhook", json=body, headers=headers).status_code == 401
        assert client.post("/train", json={"project": "9"}, headers=headers).status_code == 401
    unknown = {"action": "TASKS_CREATED", "project": {"id": 77}}
    assert client.post("/webhook", json=unknown, headers=wrong[2]).status_code == 401
    assert app.extensions["active_learn"].changes.flush(timeout=10)
    assert connected.known_project(9) == before
    # Of the model Label Studio sends the secret as the password of Basic auth.
    connected.update(9, pending_requests=0)
    secret = connected.known_project(9).webhook_secret
    answer = client.post(
        "/webhook",
        json={"action": "START_TRAINING", "project": {"id": 9}},
        headers=basic("active-sampler", secret),
    )
    assert answer.status_code == 200
    assert connected.known_project(9).round_requested


def test_a_webhook_waits_for_no_database_once_its_secret_is_known(
    client: FlaskClient, app: Flask, connected: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = secret_of(connected)
    event = {"action": "ANNOTATION_CREATED", "project": {"id": 9}}
    assert client.post("/webhook", json=event, headers=headers).status_code == 200
    assert app.extensions["active_learn"].changes.flush(timeout=10)

    def fail(_project_id: int) -> None:
        raise StoreError("the database hangs")

    monkeypatch.setattr(connected, "project", fail)
    assert client.post("/webhook", json=event, headers=headers).status_code == 200
    # What is not known has to be read, and a wrong secret may be a new one.
    assert client.post("/webhook", json=event, headers={SECRET_HEADER: "x"}).status_code == 503
    monkeypatch.undo()
    connected.forget(9)
    assert client.post("/webhook", json=event, headers={SECRET_HEADER: "x"}).status_code == 401
    assert client.post("/webhook", json=event, headers=headers).status_code == 401  # forgotten


def basic(user: str, password: str) -> dict[str, str]:
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {token}"}


def test_setup_refuses_with_a_reason_phrase(client: FlaskClient, store: Store) -> None:
    answer = client.post("/setup", json=setup_body("<View><Text name='t' value='$t'/></View>"))
    assert answer.status.startswith("400 the labeling config has no control; add one")
    answer = client.post("/setup", json=setup_body("<View>\n\u2603<"))
    assert answer.status.startswith("400 the labeling config cannot be read")
    assert store.projects() == []


@pytest.mark.usefixtures("connected")
def test_before_a_head_every_task_gets_an_empty_answer(client: FlaskClient) -> None:
    answer = client.post("/predict", json=predict_body("x", "y"))
    assert answer.status_code == 200
    empty = {"result": [], "score": 0.0, "model_version": "head-0"}
    assert answer.get_json()["results"] == [empty, empty]


@pytest.mark.usefixtures("connected")
def test_one_answer_per_task_in_order_under_the_heads_version(
    client: FlaskClient, app: Flask
) -> None:
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


@pytest.mark.usefixtures("connected")
def test_a_damaged_head_does_not_break_answers(client: FlaskClient, app: Flask) -> None:
    train_head(app)
    folder = app.extensions["active_learn"].settings.model_dir / "projects" / "9" / "heads"
    (folder / "head-3.safetensors").write_bytes(b"broken")
    answer = client.post("/predict", json=predict_body("x"))
    assert answer.status_code == 200
    assert answer.get_json()["results"][0]["result"] == []


def test_a_header_names_the_project_of_an_event_without_one(
    client: FlaskClient, app: Flask, connected: Store
) -> None:
    event = {"action": "ANNOTATION_CREATED"}
    headers = secret_of(connected) | {PROJECT_HEADER: "9"}
    before = connected.known_project(9)
    connected.register(10)
    assert client.post("/webhook", json=event, headers=headers).status_code == 200
    assert app.extensions["active_learn"].changes.flush(timeout=10)
    after = connected.known_project(9)
    assert after.change_seq == before.change_seq + 1
    assert after.urgent_seq == before.urgent_seq  # one label may wait for others
    others = {SECRET_HEADER: headers[SECRET_HEADER], PROJECT_HEADER: "10"}
    assert client.post("/webhook", json=event, headers=others).status_code == 401
    for named in ("", "x", "9; 10"):
        answer = client.post("/webhook", json=event, headers=headers | {PROJECT_HEADER: named})
        assert answer.status_code == 400
    assert connected.known_project(9) == after


def test_webhooks_only_mark(client: FlaskClient, app: Flask, connected: Store) -> None:
    changes = app.extensions["active_learn"].changes
    headers = secret_of(connected)
    finish_round(connected, 9, RoundReport(1, labeled=0), labels=0, tasks=0)
    for action in ("ANNOTATION_CREATED", "TASKS_DELETED", "SOMETHING_NEW"):
        before = connected.known_project(9).change_seq
        event = {"action": action, "project": {"id": 9}}
        assert client.post("/webhook", json=event, headers=headers).status_code == 200
        assert changes.flush(timeout=10)
        assert connected.known_project(9).change_seq == before + 1
        assert not connected.known_project(9).round_requested
    training = {"action": "START_TRAINING", "project": {"id": 9}}
    client.post("/webhook", json=training, headers=headers)
    assert connected.known_project(9).round_requested


@pytest.mark.skipif(not PAYLOADS.is_dir(), reason="../shared with recorded payloads is not here")
def test_recorded_requests_of_label_studio(
    client: FlaskClient, app: Flask, connected: Store
) -> None:
    train_head(app)
    recorded = [json.loads(path.read_text()) for path in sorted(PAYLOADS.glob("*.json"))]
    requests = [one for one in recorded if "path" in one]
    assert len(requests) >= 15
    for request in requests:
        body = request["body"] or {}
        named = body.get("project", 9)
        number = project_number(named["id"] if isinstance(named, dict) else named)
        connected.register(number, body.get("label_config", CONFIG))
        answer = client.open(
            request["path"],
            method=request["method"],
            json=request["body"],
            headers=secret_of(connected, number),
        )
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
        refusals = {"400", "401", "403", "413", "415", "429", "503"}
        assert {"200", *refusals} == set(operation["responses"])
