"""What the status page's buttons change, and who may see and press them."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import page_state
import pytest
from active_learn_backend.settings import load_settings
from active_learn_backend.web.app import create_app
from flask.testing import FlaskClient
from page_requests import BROWSER, OURS, html

pytestmark = pytest.mark.usefixtures("clean_environment")


# -- going back to an earlier head ---------------------------------------------------------------


def test_a_button_goes_back_and_to_the_latest_again(client: FlaskClient, runtime: Any) -> None:
    page_state.fill(runtime)
    page = html(client, "/projects/3")
    assert 'value="head-1"' in page
    assert "Answer and order by head-1, until you go back to the latest?" in page  # it asks
    for heading in ("Version", "Labels", "Quality, 95 % interval", "Use it"):
        assert f'<th scope="col">{heading}</th>' in page
    answer = client.post("/projects/3/rollback", data={"version": "head-1"}, headers=OURS)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/projects/3")
    project = runtime.store.project(3)
    assert (project.head_round, project.pinned_round, project.round_requested) == (1, 1, True)
    assert 'value="latest"' in html(client, "/projects/3")
    client.post("/projects/3/rollback", data={"version": "latest"}, headers=OURS)
    assert runtime.store.project(3).pinned_round == 0


@pytest.mark.parametrize(
    ("headers", "host", "remote", "status"),
    [
        ({"Origin": "http://evil.example"}, "localhost", "127.0.0.1", 403),
        ({"Origin": "null"}, "localhost", "127.0.0.1", 403),
        ({}, "localhost", "127.0.0.1", 403),
        (
            {"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"},
            "localhost",
            "127.0.0.1",
            403,
        ),
        ({"Origin": "http://evil.example"}, "evil.example", "127.0.0.1", 403),  # rebound name
        ({"Origin": "http://localhost"}, "localhost", "10.0.0.8", 403),
        ({"Origin": "http://localhost", "X-Forwarded-For": "8.8.8.8"}, "localhost", "::1", 403),
        ({"Origin": "http://localhost:9090"}, "localhost:9090", "::1", 303),
    ],
)
def test_only_our_own_page_on_this_machine_goes_back(
    client: FlaskClient, runtime: Any, headers: dict[str, str], host: str, remote: str, status: int
) -> None:
    page_state.fill(runtime)
    answer = client.post(
        "/projects/3/rollback",
        data={"version": "head-1"},
        headers={"Host": host, **headers},
        environ_overrides={"REMOTE_ADDR": remote},
    )
    assert answer.status_code == status
    assert runtime.store.project(3).pinned_round == (1 if status == 303 else 0)


def test_a_button_orders_a_paused_project_again(client: FlaskClient, runtime: Any) -> None:
    store = page_state.fill(runtime)
    store.update(3, status="paused_by_user", reason="a test", sampling_set=True)
    assert "Order it again" in html(client, "/projects/3")
    assert client.post("/projects/3/resume", headers=BROWSER).status_code == 403
    assert store.project(3).status == "paused_by_user"
    answer = client.post("/projects/3/resume", headers=OURS)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/projects/3")
    assert store.project(3).status == "active"
    assert "Order it again" not in html(client, "/projects/3")
    assert client.post("/projects/3/resume", headers=OURS).status_code == 400
    store.update(3, status="disconnected")
    assert client.post("/projects/3/resume", headers=OURS).status_code == 400
    assert store.project(3).status == "disconnected"
    assert client.post("/projects/9/resume", headers=OURS).status_code == 404


@pytest.mark.parametrize("version", ["", "head-99", "head-1x", "../../etc", "latest "])
def test_only_versions_that_are_kept_are_taken(
    client: FlaskClient, runtime: Any, version: str
) -> None:
    page_state.fill(runtime)
    answer = client.post("/projects/3/rollback", data={"version": version}, headers=OURS)
    assert answer.status_code == 400
    assert runtime.store.project(3).pinned_round == 0
    assert client.get("/projects/3/rollback").status_code == 405


# -- who may look -------------------------------------------------------------------------------


def test_basic_auth_closes_all_of_it_and_lets_in(tmp_path: Path) -> None:
    app = create_app(
        load_settings(model_dir=tmp_path, basic_auth_user="u", basic_auth_pass="p", host="0.0.0.0")
    )
    page_state.fill(app.extensions["active_learn"])
    client = app.test_client()
    paths = ("/", "/projects.json", "/projects/3", "/projects/3.json", "/projects/3/tasks/124.jpg")
    for path in (*paths, "/pages/style.css"):
        assert client.get(path, headers=BROWSER).status_code == 401
    assert client.post("/projects/3/rollback", headers=OURS).status_code == 401
    right = {"Authorization": "Basic " + base64.b64encode(b"u:p").decode()}
    assert client.get("/projects/3", headers={**BROWSER, **right}).status_code == 200
    far = {"Host": "backend.example", "Origin": "http://backend.example", **right}
    answer = client.post(
        "/projects/3/rollback",
        data={"version": "head-1"},
        headers=far,
        environ_overrides={"REMOTE_ADDR": "10.0.0.8"},
    )
    assert answer.status_code == 303


def test_a_rebound_name_reads_nothing(client: FlaskClient, runtime: Any) -> None:
    page_state.fill(runtime)
    for path in ("/", "/projects/3", "/projects/3.json", "/projects.json"):
        answer = client.get(path, headers={**BROWSER, "Host": "evil.example"})
        assert answer.status_code == 400
        assert "Fruit" not in answer.get_data(as_text=True)
    assert client.get("/", headers={"Host": "evil.example"}).get_json()["status"] == "UP"


def test_the_name_that_label_studio_knows_is_served(tmp_path: Path) -> None:
    app = create_app(load_settings(model_dir=tmp_path, backend_url="http://sampler.lan:9090"))
    page = app.test_client().get("/", headers={**BROWSER, "Host": "sampler.lan:9090"})
    assert page.status_code == 200
