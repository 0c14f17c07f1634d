"""Boxes and other shapes in pictures on a real Label Studio: learned, or found by a detector."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import numpy as np
import pytest
from active_learn_backend.demo.annotator import Annotator
from active_learn_backend.demo.backend import BackendServer
from active_learn_backend.demo.label_studio import LabelStudioServer
from active_learn_backend.demo.process import wait_until
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.labeling.masks import rasterise, shape_of
from active_learn_backend.labeling.regions import count_matches
from harness import Harness
from media_files import picture_with_boxes
from onnx_detectors import COLORS, picture_with_colors, save_color_detector
from PIL import Image

TAGS = ("RectangleLabels", "PolygonLabels", "KeyPointLabels", "BrushLabels", "BitmaskLabels")
NAMES = '<Label value="disk"/><Label value="stripes"/>'
CONFIG = (
    '<View><Image name="image" value="$image"/>'
    + "".join(f'<{tag} name="{tag}" toName="image">{NAMES}</{tag}>' for tag in TAGS)
    + "</View>"
)
CONTROLS = parse_label_config(CONFIG).controls


@pytest.fixture
def params() -> dict[str, Any]:
    return {"budget": 20, "reserve": 8, "retrain_every": 20, "audit": 0.0}


def annotation(boxes: list[list[Any]], size: tuple[int, int]) -> list[dict[str, Any]]:
    """What a person marks: boxes, polygons and masks of the same area, and its middle."""
    result = []
    for (left, top), (right, bottom), name in boxes:
        outline = [(left, top), (right, top), (right, bottom), (left, bottom)]
        start, end = shape_of(rasterise(outline))  # type: ignore[misc]
        middle = ((left + right) / 2, (top + bottom) / 2)
        regions = [
            ((left, top), (right, bottom)),
            (start, end),
            (middle, middle),
            (start, (*end, *size)),
            (start, (*end, *size)),
        ]
        for control, region in zip(CONTROLS, regions, strict=True):
            result += control.write([[*region, name]])
    return result


def test_boxes_of_a_person_are_proposed_in_other_pictures(
    harness: Harness, label_studio: LabelStudioServer, make_annotator: Callable[..., Annotator]
) -> None:
    rng, pictures = np.random.default_rng(3), {}
    for _ in range(50):
        image, boxes = picture_with_boxes(rng)
        pictures[address_of(image)] = annotation(boxes, image.size)
    body = {"title": "Boxes", "label_config": CONFIG}
    project = label_studio.api("POST", "/api/projects/", body)["id"]
    tasks = [{"image": address} for address in pictures]
    label_studio.api("POST", f"/api/projects/{project}/import", tasks)
    harness.connect(project, prelabel="head")
    person = make_annotator(project, lambda task: pictures[task["data"]["image"]])
    assert len(list(person.label(20))) == 20

    def learned() -> Any:
        rounds = harness.rounds(project)
        return rounds[-1] if rounds and rounds[-1].labeled >= 12 else None

    report = wait_until(learned, timeout=120, what="a round that knows the labels")
    assert report.controls[0].regions
    tasks = harness.api("GET", f"/api/tasks/?project={project}&page_size=100")["tasks"]
    truths = {task["id"]: pictures[task["data"]["image"]] for task in tasks}
    rows = harness.rows(project, report.queue_version)
    for control, least in zip(CONTROLS, (0.3, 0.3, 0.2, 0.3, 0.3), strict=True):
        right = both = 0
        for row in rows:
            truth, found = control.read(truths[row["task"]]), control.read(row["result"])
            right += 2 * count_matches(truth, found)
            both += len(truth) + len(found)
        assert right / both > least  # regions at wrong places have next to none


def address_of(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def test_a_detector_of_the_project_proposes_boxes_where_they_are(
    harness: Harness,
    label_studio: LabelStudioServer,
    shared_backend: BackendServer,
    make_annotator: Callable[..., Annotator],
) -> None:
    """Its boxes are on the picture before anybody labels, in Label Studio and on our page."""
    rng, pictures = np.random.default_rng(5), {}
    for _ in range(24):
        image, boxes = picture_with_colors(rng)
        pictures[address_of(image)] = boxes
    save_color_detector(shared_backend.model_dir / "models" / "colors.onnx")
    labels = "".join(f'<Label value="{color}"/>' for color in COLORS)
    config = (
        '<View><Image name="image" value="$image"/><RectangleLabels name="box" toName="image">'
        f"{labels}</RectangleLabels></View>"
    )
    (control,) = parse_label_config(config).controls
    body = {"title": "Detector", "label_config": config}
    project = label_studio.api("POST", "/api/projects/", body)["id"]
    tasks = [{"image": address} for address in pictures]
    label_studio.api("POST", f"/api/projects/{project}/import", tasks)
    version = harness.connect(project, model="colors.onnx", prelabel="head", budget=6, reserve=6)

    tasks = harness.api("GET", f"/api/tasks/?project={project}&page_size=100")["tasks"]
    truths = {task["id"]: pictures[task["data"]["image"]] for task in tasks}
    rows = harness.rows(project, version)
    assert len({row["score"] for row in rows}) == len(rows) >= 12
    answers = {row["task"]: control.read(row["result"]) for row in rows}
    check_boxes(truths, answers)
    page = httpx.get(f"{shared_backend.url}/projects/{project}.json", timeout=60).json()["queue"]
    drawn = {
        task["task_id"]: [
            [*corners_of(one["path"]), one["label"]] for one in task["proposals"][0]["drawn"]
        ]
        for task in page
    }
    check_boxes(truths, drawn)
    by_score = sorted(rows, key=lambda row: row["score"])
    assert [task["task_id"] for task in page] == [row["task"] for row in by_score][: len(page)]

    person = make_annotator(project, lambda task: control.write(pictures[task["data"]["image"]]))
    done = [one.task["id"] for one in person.label(6)]
    assert done == [row["task"] for row in by_score][:6]
    harness.wait_labels(project, {task: control.read(control.write(truths[task])) for task in done})
    harness.wait_queue(project, after=1)
    waiting = [task for task in harness.queue(project) if task not in done]
    (after,) = person.label(1)
    assert after.task["id"] == waiting[0]
    assert harness.state(project).head_round == 0  # the detector answers, and nothing is trained


def check_boxes(truths: Mapping[int, Any], found: Mapping[int, Any]) -> None:
    """Nine of ten boxes are found, and nine of ten that are found are there."""
    right = sum(count_matches(truths[task], boxes) for task, boxes in found.items())
    assert right >= 0.9 * sum(len(truths[task]) for task in found) > 4
    assert right >= 0.9 * sum(map(len, found.values()))


def corners_of(path: str) -> list[tuple[float, float]]:
    numbers = [float(one) for one in re.findall(r"[\d.]+", path)]
    x, y = numbers[::2], numbers[1::2]
    return [(min(x), min(y)), (max(x), max(y))]
