"""Boxes and other shapes in pictures on a real Label Studio: labeled, learned, and proposed."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from active_learn_backend.demo.annotator import Annotator
from active_learn_backend.demo.label_studio import LabelStudioServer
from active_learn_backend.demo.process import wait_until
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.labeling.masks import rasterise, shape_of
from active_learn_backend.labeling.regions import count_matches
from harness import Harness
from media_files import picture_with_boxes

TAGS = ("RectangleLabels", "PolygonLabels", "KeyPointLabels", "BrushLabels")
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
        file = io.BytesIO()
        image.save(file, "JPEG")
        address = f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
        pictures[address] = annotation(boxes, image.size)
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
    for control, least in zip(CONTROLS, (0.3, 0.3, 0.2, 0.3), strict=True):
        right = both = 0
        for row in rows:
            truth, found = control.read(truths[row["task"]]), control.read(row["result"])
            right += 2 * count_matches(truth, found)
            both += len(truth) + len(found)
        assert right / both > least  # regions at wrong places have next to none
