"""The web process refuses bad requests in one line, and keeps out who may not ask."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from active_learn_backend.labelstudio.registration import PROJECT_HEADER, SECRET_HEADER
from active_learn_backend.settings import load_settings
from active_learn_backend.state.connection_requests import (
    read_connection_requests,
)
from active_learn_backend.state.store import Store
from active_learn_backend.web import limits
from active_learn_backend.web.app import create_app
from active_learn_backend.web.routes import messages
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from protocol_requests import predict_body, secret_of, setup_body

pytestmark = pytest.mark.usefixtures("clean_environment")


# What a web page can make the browser of an operator send, and what programs of this machine send.
FORGED: list[tuple[dict[str, Any], int]] = [
    ({"headers": {"Origin": "http://evil.example"}}, 403),
    ({"headers": {"Origin": "null"}}, 403),
    ({"headers": {"Origin": "http://["}}, 403),
    ({"headers": {"Sec-Fetch-Site": "cross-site"}}, 403),
    ({"headers": {"Sec-Fetch-Site": "same-site"}}, 403),
    ({"headers": {"Host": "evil.example"}}, 403),
    ({"headers": {"Host": "evil.example:9090", "Origin": "http://evil.example:9090"}}, 403),
    ({"headers": {"Host": "localhost.evil.example"}}, 403),
    ({"headers": {"Host": "["}}, 403),
    ({"content_type": "text/plain"}, 415),
    ({"content_type": "text/plain;charset=UTF-8"}, 415),
    ({"content_type": "application/x-www-form-urlencoded"}, 415),
    ({"content_type": "multipart/form-data; boundary=application/json"}, 415),
    ({"content_type": ""}, 415),
]


@pytest.mark.parametrize("path", ["/setup", "/predict", "/webhook", "/train"])
@pytest.mark.parametrize(("forged", "status"), FORGED, ids=[str(n) for n in range(len(FORGED))])
def test_a_foreign_page_changes_nothing(
    client: FlaskClient, app: Flask, connected: Store, path: str, forged: Any, status: int
) -> None:
    """One fetch with no-cors of a page that an operator visits; the page even knows the secret."""
    body = setup_body(extra_params={"encoder": "", "budget": 1000}) | predict_body("x")
    if path == "/webhook":
        body |= {"action": "START_TRAINING", "project": {"id": 9}}
    before = connected.known_project(9)
    headers = secret_of(connected) | forged.get("headers", {})
    kind = forged.get("content_type", "application/json")
    answer = client.post(path, data=json.dumps(body), content_type=kind, headers=headers)
    assert answer.status_code == status
    assert app.extensions["active_learn"].changes.flush(timeout=10)
    assert connected.known_project(9) == before
    assert read_connection_requests(connected) == []


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1:9090", "[::1]:9090", "10.1.2.3", "backend:9090", "b.example"]
)
def test_label_studio_may_use_each_name_of_ours(tmp_path: Path, host: str) -> None:
    given = load_settings(
        model_dir=tmp_path, backend_url="http://backend:9090", allowed_hosts=" B.example, "
    )
    app = create_app(given)
    answer = app.test_client().post("/setup", json=setup_body(), headers={"Host": host})
    assert answer.status_code == 200
    app.extensions["active_learn"].store.close()


def test_probes_may_use_any_name(client: FlaskClient) -> None:
    for path in ("/health", "/metrics", "/versions"):
        for headers in ({"Host": "10.1.2.3:9090"}, {"Host": "pod.example"}):
            assert client.get(path, headers=headers).status_code == 200


def basic(user: str, password: str) -> dict[str, str]:
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {token}"}


BAD = [
    (b"", "no JSON"),
    (b"not json", "no JSON"),
    (b"\xff\xfe", "no JSON"),
    (b"[" * 100_000, "no JSON"),
    (b"[" * 500 + b"]" * 500, "nested more than 100 levels deep"),
    (b'{"project": NaN}', "no JSON"),
    (b'{"project": 1e999}', "no JSON"),
    (b'{"project": "\xed\xa0\x80"}', "no JSON"),
    (b"[]", "must be a JSON object"),
    (b"null", "must be a JSON object"),
    (b"{}", " is missing"),
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
        ("/predict", predict_body("x") | {"project": ""}),
        ("/predict", predict_body("x") | {"project": "None"}),
        ("/predict", predict_body("x") | {"project": "../../etc"}),
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


@pytest.mark.parametrize("query", ["", "a=%0a", "a=%0d%0aSet-Cookie:x"])
@pytest.mark.parametrize("path", ["", "//", "//health", "/health/"])
def test_no_path_is_redirected(client: FlaskClient, path: str, query: str) -> None:
    """Werkzeug's redirect to the usual path fails where the query has a line end.

    A request whose target is a whole address may have no path.
    """
    answer = client.get("/", query_string=query, environ_overrides={"PATH_INFO": path})
    assert answer.status_code in (200, 404)


def test_unknown_paths_and_methods_answer_json(client: FlaskClient) -> None:
    assert client.get("/nothing").status_code == 404
    assert client.get("/setup").status_code == 405
    assert "error" in client.get("/nothing").get_json()
    assert client.get("/versions?project=..%2F..").status_code == 400


def test_a_request_that_is_too_large_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "LARGEST_BODY", 5000)
    monkeypatch.setattr(limits, "LARGEST_OTHER", 1000)
    small = create_app(load_settings(model_dir=tmp_path)).test_client()
    for path, length in (
        ("/webhook", 1001),
        ("/setup", 1001),
        ("/train", 1001),
        ("/predict", 5001),
    ):
        answer = small.post(path, data=b"x" * length, content_type="application/json")
        assert answer.status_code == 413, path
        assert "error" in answer.get_json()
    assert (
        small.post("/predict", data=b"x" * 5000, content_type="application/json").status_code == 400
    )


@pytest.mark.parametrize("piece", [b"[]", b"{}", b"1", b'"a"'])
def test_json_of_too_many_values_is_refused_before_it_is_read(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, piece: bytes
) -> None:
    """A body of 60 MB of `[],[],` took a minute, and 1.6 GB for good."""
    monkeypatch.setattr(limits, "MOST_CONTAINERS", 1000)
    monkeypatch.setattr(limits, "MOST_VALUES", 1000)
    monkeypatch.setattr(messages, "_parse", lambda _raw: pytest.fail("it is read"))
    answer = client.post(
        "/predict",
        data=b"[" + b",".join([piece] * 2000) + b"]",
        content_type="application/json",
    )
    assert answer.status_code == 400
    assert "send fewer tasks at once" in answer.get_json()["error"]


def test_basic_auth_guards_every_route(tmp_path: Path) -> None:
    app = create_app(load_settings(model_dir=tmp_path, basic_auth_user="u", basic_auth_pass="p:ä"))
    client = app.test_client()
    routes = [rule for rule in app.url_map.iter_rules() if rule.endpoint != "static"]
    assert len(routes) >= 7
    for rule in routes:
        method = "POST" if "POST" in rule.methods else "GET"
        assert client.open(rule.rule, method=method).status_code == 401
    right = basic("u", "p:ä")
    assert client.get("/health", headers=right).status_code == 200
    assert client.get("/health", headers=basic("u", "q")).status_code == 401
    assert client.get("/health", headers={"Authorization": "Basic %%%"}).status_code == 401

    store = app.extensions["active_learn"].store
    store.register(9)
    secret = store.known_project(9).webhook_secret
    store.register(10)
    body = {"action": "X", "project": {"id": 9}}
    bears = {SECRET_HEADER: secret}
    assert client.post("/webhook", json=body, headers=bears).status_code == 200
    named = bears | {PROJECT_HEADER: "9"}
    assert client.post("/webhook", json={"action": "X"}, headers=named).status_code == 200
    assert client.post("/webhook", json={"action": "X"}, headers=bears).status_code == 400
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
    assert answer.status_code in (200, 400, 401, 429)
