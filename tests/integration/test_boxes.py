"""A project whose images have boxes: they are read, learned, proposed, and measured."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.labeling.regions import count_matches
from active_learn_backend.state.queue import read_queue
from active_learn_backend.state.rounds import last_round
from active_learn_backend.state.tasks import read_tasks
from active_learn_backend.state.unreadable import unreadable_tasks
from active_learn_backend.web.app import create_app
from fake_label_studio import FakeLabelStudio
from media_files import picture_with_boxes
from PIL import Image, ImageDraw
from worker_backend import Backend

CONFIG = (
    '<View><Image name="image" value="$text"/><RectangleLabels name="box" toName="image">'
    '<Label value="disk"/><Label value="stripes"/></RectangleLabels></View>'
)
CONTROL = parse_label_config(CONFIG).controls[0]
Boxes = list[list[Any]]


@pytest.fixture
def pictures() -> dict[str, Boxes]:
    """Addresses of pictures, with what is in them."""
    rng = np.random.default_rng(3)
    found = {}
    for _ in range(45):
        image, boxes = picture_with_boxes(rng)
        file = io.BytesIO()
        image.save(file, "PNG")
        found[f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"] = boxes
    return found


@pytest.fixture
def project(backend: Backend, studio: FakeLabelStudio, pictures: dict[str, Boxes]) -> int:
    project = studio.add_project(pictures, CONFIG)
    backend.store.register(project)
    backend.store.update(project, mode="pull")
    return project


def test_boxes_are_learned_proposed_and_measured(
    backend: Backend, studio: FakeLabelStudio, project: int, pictures: dict[str, Boxes]
) -> None:
    def truth(task: int) -> Boxes:
        return pictures[studio.tasks[task]["data"]["text"]]

    settings = {"budget": 15, "audit": 0.3, "prelabel": "head"}
    for _ in range(2):
        backend.turn(project, **settings)
        for row in read_queue(backend.store, project)[:15]:
            studio.submit(row.task_id, CONTROL.write(truth(row.task_id)))
    backend.turn(project, **settings)
    kept = {row.task_id: row.labels for row in read_tasks(backend.store, project)}
    done = [task for task, one in kept.items() if one is not None]
    assert len(done) == 30
    assert all(kept[task] == {"box": CONTROL.read(CONTROL.write(truth(task)))} for task in done)

    rows = [row for row in studio.rows.values() if row["model_version"] == "al-3"]
    proposed = [row for row in rows if row["result"]]
    right = both = 0
    for row in proposed:
        for item in row["result"]:
            box = item["value"]
            assert item["type"] == "rectanglelabels"
            assert 0 <= box["x"] < box["x"] + box["width"] <= 100
            assert 0 <= box["y"] < box["y"] + box["height"] <= 100
            assert 0 < item["score"] <= 1
        answer = CONTROL.read(row["result"])
        right += 2 * count_matches(truth(row["task"]), answer)
        both += len(truth(row["task"])) + len(answer)
    assert right / both > 0.6

    report = last_round(backend.store, project)
    assert report is not None
    (found,) = report.controls
    assert found.evaluation.audit is not None
    assert found.evaluation.audit.low < found.evaluation.audit.value
    assert found.evaluation.audit.value > 0.5
    assert found.evaluation.audit.metric == "F1 at IoU .5"
    page = create_app(backend.settings()).test_client()
    html = page.get(f"/projects/{project}", headers={"Accept": "text/html"}).text
    assert "cells unsure" in html


def test_an_image_that_cannot_be_read_is_left_out_alone(
    backend: Backend, studio: FakeLabelStudio
) -> None:
    project = studio.add_project(plain_pictures(3), CONFIG)
    studio.add_task(project, "data:image/png;base64,bm8gaW1hZ2U=")
    backend.store.register(project)
    backend.store.update(project, mode="pull")
    backend.turn(project)
    assert len(read_queue(backend.store, project)) == 3
    assert [group.n for group in unreadable_tasks(backend.store, project)] == [1]


def plain_pictures(count: int) -> dict[str, Boxes]:
    """Addresses of small pictures of a red or a blue box each, with where it is."""
    rng = np.random.default_rng(3)
    found = {}
    for at in range(count):
        image = Image.new("RGB", (128, 40), (120 + at, 120, 120))
        x, y = (8 * int(one) for one in rng.integers(0, (14, 3)))
        label, color = [("disk", (200, 20, 20)), ("stripes", (20, 20, 200))][at % 2]
        ImageDraw.Draw(image).rectangle((x, y, x + 23, y + 23), fill=color)
        file = io.BytesIO()
        image.save(file, "PNG")
        address = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
        corners = [[a / 1.28, b / 0.4] for a, b in ((x, y), (x + 24, y + 24))]
        found[address] = [[*corners, label]]
    return found


def test_boxes_that_look_wrong_are_listed_until_they_are_put_right(
    backend: Backend, studio: FakeLabelStudio
) -> None:
    pictures = plain_pictures(24)
    project = studio.add_project(pictures, CONFIG)
    backend.store.register(project)
    backend.store.update(project, mode="pull")
    settings = {"budget": 24, "audit": 0.0}
    backend.turn(project, **settings)
    truth = {task: pictures[one["data"]["text"]] for task, one in studio.tasks.items()}
    missing, renamed, *_ = truth
    label = truth[renamed][0][2]
    other = "disk" if label == "stripes" else "stripes"
    marked = truth | {missing: [], renamed: [[*truth[renamed][0][:2], other]]}
    for task, boxes in marked.items():
        studio.submit(task, CONTROL.write(boxes))
    backend.turn(project, **settings)
    page = create_app(backend.settings()).test_client()
    (control,) = page.get(f"/projects/{project}.json").get_json()["controls"]
    found = {(one["task_id"], one["suggested"]) for one in control["label_errors"]}
    assert found == {(missing, truth[missing][0][2]), (renamed, label)}
    html = page.get(f"/projects/{project}", headers={"Accept": "text/html"}).text
    assert all(one["label"] in html for one in control["label_errors"])
    (left, top), (right, bottom) = truth[renamed][0][:2]
    place = f"x {left:.0f} to {right:.0f} %, y {top:.0f} to {bottom:.0f} %"
    assert f"{place}: {other}" in {one["label"] for one in control["label_errors"]}
    for task in (missing, renamed):
        (annotation,) = studio.tasks[task]["annotations"]
        studio.edit(annotation["id"], result=CONTROL.write(truth[task]))
    backend.store.update(project, request_round=True)
    backend.turn(project, **settings)
    (control,) = page.get(f"/projects/{project}.json").get_json()["controls"]
    assert control["label_errors"] == []
