"""Thumbnails of queued images on the status page: small, encoded anew, and of images only."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import page_state
import pytest
from active_learn_backend.learning.encoders import images
from active_learn_backend.settings import load_settings
from active_learn_backend.web.app import create_app
from flask import Flask
from flask.testing import FlaskClient
from page_requests import html
from PIL import Image

pytestmark = pytest.mark.usefixtures("clean_environment")


# -- thumbnails ---------------------------------------------------------------------------------


def test_a_thumbnail_is_small_and_encoded_anew(client: FlaskClient, runtime: Any) -> None:
    contents = [page_state.picture((1600, 1200))] * 60
    page_state.fill(runtime, config=page_state.IMAGE_CONFIG, contents=contents)
    assert 'src="/projects/3/tasks/124.jpg"' in html(client, "/projects/3")
    answer = client.get("/projects/3/tasks/124.jpg")
    assert answer.content_type == "image/jpeg"
    image = Image.open(io.BytesIO(answer.data))
    assert (image.format, image.size) == ("JPEG", (192, 144))
    assert len(answer.data) < 50_000
    again = client.get(
        "/projects/3/tasks/124.jpg", headers={"If-None-Match": answer.headers["ETag"]}
    )
    assert (again.status_code, again.data) == (304, b"")


def test_of_several_images_the_first_is_shown(client: FlaskClient, runtime: Any) -> None:
    config = page_state.IMAGE_CONFIG.replace('value="$', 'valueList="$', 1)
    assert "valueList" in config
    pages = [page_state.picture((100, 50)), page_state.picture((50, 100))]
    page_state.fill(runtime, config=config, contents=[json.dumps(pages)] * 60)
    page = html(client, "/projects/3")
    assert 'src="/projects/3/tasks/124.jpg"' in page
    assert "data:image" not in page
    image = Image.open(io.BytesIO(client.get("/projects/3/tasks/124.jpg").data))
    assert image.size == (100, 50)


@pytest.mark.parametrize(
    "address",
    [
        "data:text/html,<script>alert(1)</script>",
        "data:image/png;base64,AAAA",
        "file:///etc/passwd",
        "http://169.254.169.254/latest/meta-data",
        "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>",
    ],
)
def test_what_is_no_image_is_never_passed_on(
    client: FlaskClient, runtime: Any, address: str
) -> None:
    page_state.fill(runtime, config=page_state.IMAGE_CONFIG, contents=[address] * 60)
    answer = client.get("/projects/3/tasks/124.jpg")
    assert answer.status_code == 404
    assert list(answer.get_json()) == ["error"]
    assert "passwd" not in answer.get_data(as_text=True)


def test_a_huge_image_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_MEGAPIXELS", 0.1)
    app = create_app(load_settings(model_dir=tmp_path))
    contents = [page_state.picture((1000, 1000))] * 60
    page_state.fill(
        app.extensions["active_learn"], config=page_state.IMAGE_CONFIG, contents=contents
    )
    assert app.test_client().get("/projects/3/tasks/124.jpg").status_code == 404


def test_only_queued_tasks_have_thumbnails(client: FlaskClient, runtime: Any) -> None:
    page_state.fill(runtime, config=page_state.IMAGE_CONFIG, contents=[page_state.picture()] * 60)
    assert client.get("/projects/3/tasks/100.jpg").status_code == 404  # labeled, not queued
    assert client.get("/projects/3/tasks/999.jpg").status_code == 404


def test_images_leave_threads_to_label_studio(
    client: FlaskClient, app: Flask, runtime: Any
) -> None:
    page_state.fill(runtime, config=page_state.IMAGE_CONFIG, contents=[page_state.picture()] * 60)
    slots = app.extensions["active_learn_thumbnails"]
    taken = 0
    while slots.acquire(blocking=False):
        taken += 1
    assert taken == runtime.settings.web_threads - 2
    answer = client.get("/projects/3/tasks/124.jpg")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    slots.release()
    for _ in range(3):  # each gives its slot back
        assert client.get("/projects/3/tasks/124.jpg").status_code == 200
