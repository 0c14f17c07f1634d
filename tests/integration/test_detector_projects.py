"""A detector as the model of a project whose boxes are labeled, with the fake server."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.web.app import create_app
from fake_label_studio import FakeLabelStudio
from media_files import png_file
from tiny_models import THINGS, save_detector
from worker_backend import Backend

LABELS = "".join(f'<Label value="{thing}"/>' for thing in THINGS)
CONFIG = (
    '<View><Image name="image" value="$text"/><RectangleLabels name="box" toName="image">'
    f"{LABELS}</RectangleLabels></View>"
)
NUMBERS = r"([\d.e-]+) ([\d.e-]+)"
CONTROL = parse_label_config(CONFIG).controls[0]


@pytest.fixture
def project(backend: Backend, studio: FakeLabelStudio) -> int:
    files = [base64.b64encode(png_file(seed)).decode() for seed in range(16)]
    project = studio.add_project([f"data:image/png;base64,{one}" for one in files], CONFIG)
    backend.store.register(project)
    backend.store.update(project, mode="pull")
    return project


def proposals(backend: Backend, studio: FakeLabelStudio, project: int) -> list[dict[str, Any]]:
    version = backend.store.known_project(project).queue_version
    return [row for row in studio.rows.values() if row["model_version"] == version]


def box_drawn(region: dict[str, Any]) -> list[float]:
    """Return left, top, right and bottom of a region on the status page."""
    x, y = (list(map(float, one)) for one in zip(*re.findall(NUMBERS, region["path"]), strict=True))
    return [min(x), min(y), max(x), max(y)]


def box_proposed(item: dict[str, Any]) -> list[float]:
    ((left, top), (right, bottom), _), *_ = CONTROL.read([item])
    return [left, top, right, bottom]


def test_it_proposes_boxes_and_feeds_a_head(
    backend: Backend, studio: FakeLabelStudio, project: int, tmp_path: Path
) -> None:
    folder = save_detector(tmp_path / "models" / "yolos", "Yolos")
    values = {"model": str(folder), "prelabel": "head", "budget": 8}
    backend.turn(project, **values)
    assert backend.store.known_project(project).model_version.startswith("model-")
    boxes = [item for row in proposals(backend, studio, project) for item in row["result"]]
    assert boxes
    for item in boxes:
        value = item["value"]
        assert item["type"] == "rectanglelabels"
        assert 0 <= value["x"] < value["x"] + value["width"] <= 100.001
        assert 0 <= value["y"] < value["y"] + value["height"] <= 100.001
    page = create_app(backend.settings(**values)).test_client()
    waiting = page.get(f"/projects/{project}.json").json["queue"]
    answers = {row["task"]: row["result"] for row in proposals(backend, studio, project)}
    for task in waiting:
        drawn = task["proposals"][0]["drawn"] if task["proposals"] else []
        boxes_drawn = sorted(map(box_drawn, drawn))
        expected = sorted(map(box_proposed, answers[task["task_id"]]))
        assert np.allclose(boxes_drawn, expected[:30], atol=0.01)
    assert any(task["proposals"][0]["drawn"] for task in waiting)
    html = page.get(f"/projects/{project}", headers={"Accept": "text/html"}).text
    assert '<path class="region label-' in html

    first = {
        row["task"]: CONTROL.read(row["result"]) for row in proposals(backend, studio, project)
    }
    for task, answer in first.items():
        studio.submit(task, CONTROL.write(answer))

    # The same answers, learned on the states of its candidates.
    values["model_use"] = "encoder"
    backend.turn(project, **values)
    assert backend.store.known_project(project).head_version == "head-2"
    assert any(row["result"] for row in proposals(backend, studio, project))
    page = create_app(backend.settings(**values)).test_client()
    html = page.get(f"/projects/{project}", headers={"Accept": "text/html"}).text
    assert "of 12 candidate boxes unsure" in html
