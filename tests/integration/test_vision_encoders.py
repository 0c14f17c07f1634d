"""A vision model as the encoder of a project whose images have boxes, masks and points."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from active_learn_backend.doctor.models import check_usable
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.labeling.masks import rasterise, shape_of
from active_learn_backend.labeling.regions import count_matches
from active_learn_backend.state.queue import read_queue
from exported_folders import export
from fake_label_studio import FakeLabelStudio
from onnx_detectors import COLORS, picture_with_colors
from tiny_models import save_vit
from worker_backend import Backend

TAGS = ("RectangleLabels", "PolygonLabels", "BrushLabels", "KeyPointLabels")
NAMES = "".join(f'<Label value="{color}"/>' for color in COLORS)
CONFIG = (
    '<View><Image name="image" value="$text"/>'
    + "".join(f'<{tag} name="{tag}" toName="image">{NAMES}</{tag}>' for tag in TAGS)
    + "</View>"
)
CONTROLS = parse_label_config(CONFIG).regions


def annotation(boxes: list[list[Any]], size: tuple[int, int]) -> list[dict[str, Any]]:
    result = []
    for (left, top), (right, bottom), name in boxes:
        outline = [(left, top), (right, top), (right, bottom), (left, bottom)]
        start, end = shape_of(rasterise(outline))  # type: ignore[misc]
        middle = ((left + right) / 2, (top + bottom) / 2)
        corners = (left, top), (right, bottom)
        regions = (corners, (start, end), (start, (*end, *size)), (middle, middle))
        for control, region in zip(CONTROLS, regions, strict=True):
            result += control.write([[*region, name]])
    return result


@pytest.mark.parametrize("setting", ["encoder", "model"])
def test_regions_are_learned_from_its_patches(
    backend: Backend, studio: FakeLabelStudio, tmp_path: Path, setting: str
) -> None:
    """Random weights keep colors apart; the pictures are of all proportions."""
    fine = {"image_size": 96, "initializer_range": 0.1, "hidden_size": 32}
    folder = save_vit(tmp_path / "models" / "vit", **fine)
    rng, pictures = np.random.default_rng(1), {}
    for _ in range(40):
        image, boxes = picture_with_colors(rng)
        file = io.BytesIO()
        image.save(file, "PNG")
        address = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
        pictures[address] = annotation(boxes, image.size)
    project = studio.add_project(pictures, CONFIG)
    backend.store.register(project)
    backend.store.update(project, mode="pull")
    own = {"model": {"model": str(folder), "model_use": "encoder"}}
    settings = {"budget": 20, "audit": 0.0, "prelabel": "head"} | own.get(
        setting, {"encoder": str(folder)}
    )
    backend.turn(project, **settings)
    for row in read_queue(backend.store, project)[:20]:
        studio.submit(row.task_id, pictures[studio.tasks[row.task_id]["data"]["text"]])
    backend.turn(project, **settings)
    for control in CONTROLS:
        right = both = 0
        for row in studio.rows.values():
            if row["model_version"] == "al-2":
                truth = control.read(pictures[studio.tasks[row["task"]]["data"]["text"]])
                found = control.read(row["result"])
                right += 2 * count_matches(truth, found)
                both += len(truth) + len(found)
        assert right / both > 0.7
    if setting == "encoder":  # the command compares what the folder finds
        options = ["--control", "BrushLabels", "--encoder", str(folder)]
        done = export(backend, project, tmp_path / "out", *options)
        assert "on 40 tasks it answers as the backend does" in done.output
    client = backend.client(backend.settings())
    said = str(check_usable(client, backend.settings(**settings), parse_label_config(CONFIG), {}))
    assert "loads" in said
    client.close()
