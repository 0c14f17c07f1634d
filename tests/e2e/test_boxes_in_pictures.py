"""Boxes in pictures on a real Label Studio: labeled, learned, and proposed for the next ones."""

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
from active_learn_backend.labeling.regions import count_matches
from harness import Harness
from media_files import picture_with_boxes

CONFIG = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="box" toName="image">'
    '<Label value="disk"/><Label value="stripes"/></RectangleLabels></View>'
)
CONTROL = parse_label_config(CONFIG).controls[0]


@pytest.fixture
def params() -> dict[str, Any]:
    return {"budget": 20, "reserve": 8, "retrain_every": 20, "audit": 0.0}


def test_boxes_of_a_person_are_proposed_in_other_pictures(
    harness: Harness, label_studio: LabelStudioServer, make_annotator: Callable[..., Annotator]
) -> None:
    rng, pictures = np.random.default_rng(3), {}
    for _ in range(50):
        image, boxes = picture_with_boxes(rng)
        file = io.BytesIO()
        image.save(file, "JPEG")
        address = f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
        pictures[address] = boxes
    body = {"title": "Boxes", "label_config": CONFIG}
    project = label_studio.api("POST", "/api/projects/", body)["id"]
    tasks = [{"image": address} for address in pictures]
    label_studio.api("POST", f"/api/projects/{project}/import", tasks)
    harness.connect(project, prelabel="head")
    person = make_annotator(project, lambda task: CONTROL.write(pictures[task["data"]["image"]]))
    assert len(list(person.label(20))) == 20

    def learned() -> Any:
        rounds = harness.rounds(project)
        return rounds[-1] if rounds and rounds[-1].labeled >= 12 else None

    report = wait_until(learned, timeout=120, what="a round that knows the labels")
    assert report.controls[0].regions
    tasks = harness.api("GET", f"/api/tasks/?project={project}&page_size=100")["tasks"]
    truths = {task["id"]: pictures[task["data"]["image"]] for task in tasks}
    right = both = 0
    for row in harness.rows(project, report.queue_version):
        found = CONTROL.read(row["result"])
        right += 2 * count_matches(truths[row["task"]], found)
        both += len(truths[row["task"]]) + len(found)
    assert right / both > 0.3  # boxes at wrong places have next to none
