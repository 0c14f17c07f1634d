"""Tests of the API. They need no Label Studio.

Run `pip install -r requirements-test.txt`, then `pytest` in this folder.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="label" toName="text">'
    '<Choice value="positive"/><Choice value="negative"/></Choices></View>'
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        folder: Path = tmp_path_factory.mktemp("models")
        patch.setenv("MODEL_DIR", str(folder))
        for name in ("BASIC_AUTH_USER", "BASIC_AUTH_PASS", "DATABASE_URL", "SECRETS_DIR"):
            patch.delenv(name, raising=False)
        from _wsgi import app

        app.config["TESTING"] = True
        with app.test_client() as opened:
            yield opened


def post(client: Any, path: str, body: dict[str, Any]) -> Any:
    return client.post(path, data=json.dumps(body), content_type="application/json")


def test_health(client: Any) -> None:
    assert client.get("/health").get_json()["model_class"] == "ActiveLearningModel"


def test_predict(client: Any) -> None:
    """Without a project there is no head yet: an empty answer for each task."""
    request = {"tasks": [{"data": {"text": "I like it"}}], "label_config": CONFIG}
    response = post(client, "/predict", request)
    assert response.status_code == 200
    empty = {"result": [], "score": 0.0, "model_version": "head-0"}
    assert response.get_json() == {"results": [empty]}


def test_predict_of_a_project_that_is_not_connected(client: Any) -> None:
    request = {"tasks": [{"data": {"text": "x"}}], "project": "1.1", "label_config": CONFIG}
    response = post(client, "/predict", request)
    assert response.status.startswith("400 project 1 is not connected")


def test_setup(client: Any) -> None:
    response = post(client, "/setup", {"project": "1.1", "schema": CONFIG, "extra_params": None})
    assert response.get_json() == {"model_version": "head-0"}


def test_setup_says_what_is_wrong_with_a_labeling_config(client: Any) -> None:
    response = post(client, "/setup", {"project": "1.1", "schema": "<View></View>"})
    assert response.status.startswith("400 the labeling config has no control")


def test_a_webhook_without_the_secret_is_refused(client: Any) -> None:
    event = {"action": "ANNOTATION_CREATED", "project": {"id": 1, "label_config": CONFIG}}
    assert post(client, "/webhook", event).status_code == 401
