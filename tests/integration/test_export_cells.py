"""`active-learn export-model` of heads of images: the folder finds what the backend proposes."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.labeling.masks import rasterise, shape_of
from active_learn_backend.state.queue import read_queue
from active_learn_backend.web.app import create_app
from exported_folders import export, run_example
from label_studio_sdk.converter.brush import decode_rle
from PIL import Image, ImageDraw
from worker_backend import Backend

TAGS = ("RectangleLabels", "EllipseLabels", "PolygonLabels", "KeyPointLabels", "BrushLabels")
NAMES = '<Label value="red"/><Label value="blue"/>'
TURNED = 6  # EXIF: shown turned by 90 degrees


def config_of(*tags: str) -> str:
    controls = (f'<{tag} name="{tag}" toName="image">{NAMES}</{tag}>' for tag in tags)
    return f'<View><Image name="image" value="$text"/>{"".join(controls)}</View>'


def drawn(count: int) -> dict[str, dict[str, Any]]:
    """Return addresses of pictures, each second one turned, with what is marked by each tag."""
    rng, found = np.random.default_rng(3), {}
    for at in range(count):
        image = Image.new("RGB", (128, 40), (120 + at, 120, 120))
        x, y = (8 * int(one) for one in rng.integers(0, (14, 3)))
        label, color = [("red", (200, 20, 20)), ("blue", (20, 20, 200))][at // 2 % 2]
        ImageDraw.Draw(image).rectangle((x, y, x + 23, y + 23), fill=color)
        left, top, right, bottom = x / 1.28, y / 0.4, min((x + 24) / 1.28, 100), (y + 24) / 0.4
        exif, size = Image.Exif(), image.size
        if at % 2:
            image, size = image.transpose(Image.Transpose.ROTATE_90), image.size
            exif[0x0112] = TURNED
        file = io.BytesIO()
        image.save(file, "PNG", exif=exif)
        outline = [(left, top), (right, top), (right, bottom), (left, bottom)]
        shape = shape_of(rasterise(outline))
        assert shape is not None
        box = [[left, top], [right, bottom], label]
        middle = [(left + right) / 2, (top + bottom) / 2]
        address = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
        found[address] = {
            "RectangleLabels": box,
            "EllipseLabels": box,
            "PolygonLabels": [*shape, label],
            "KeyPointLabels": [middle, middle, label],
            "BrushLabels": [shape[0], (*shape[1], *size), label],
        }
    return found


def trained(
    backend: Backend, tags: tuple[str, ...], pictures: dict[str, dict[str, Any]], **settings: Any
) -> int:
    """Return a project of which half of the pictures are labeled."""
    project = backend.studio.add_project(pictures, config_of(*tags))
    backend.store.register(project)
    backend.store.update(project, mode="pull")
    settings |= {"budget": len(pictures) // 2, "audit": 0.0}
    backend.turn(project, **settings)
    controls = parse_label_config(config_of(*tags)).regions
    for row in read_queue(backend.store, project)[: len(pictures) // 2]:
        of_task = pictures[backend.studio.tasks[row.task_id]["data"]["text"]]
        items = [item for one in controls for item in one.write([of_task[one.from_name]])]
        backend.studio.submit(row.task_id, items)
    backend.turn(project, **settings)
    return project


def alpha_of(url: str) -> Any:
    image = Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2])))
    return np.asarray(image.convert("RGBA"))[:, :, 3]


def test_the_folders_find_what_the_backend_proposes(backend: Backend, tmp_path: Path) -> None:
    pictures = drawn(16)
    project = trained(backend, TAGS, pictures)
    done = export(backend, project, tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert done.output.count("on 16 tasks it answers as the backend does") == len(TAGS)
    for file in (tmp_path / "out").glob("*/*.py"):
        assert "active_learn" not in file.read_text()

    (tmp_path / "files").mkdir()
    files = []
    for at, address in enumerate(pictures):
        files.append(str(tmp_path / "files" / f"{at}.png"))
        Path(files[-1]).write_bytes(base64.b64decode(address.partition(",")[2]))
    client = create_app(backend.settings()).test_client()
    sent = [{"id": at, "data": {"text": address}} for at, address in enumerate(pictures, 1)]
    answers = client.post("/predict", json={"tasks": sent, "project": str(project)}).json
    for tag in ("RectangleLabels", "BrushLabels"):
        found = run_example(tmp_path / "out" / tag, "-", given=files)
        assert sum(map(len, found)) > 8
        for regions, answer in zip(found, answers["results"], strict=True):
            items = [one for one in answer["result"] if one["from_name"] == tag]
            assert [one["score"] for one in regions] == pytest.approx(
                [one["score"] for one in items], abs=1e-5
            )
            for region, item in zip(regions, items, strict=True):
                value = item["value"]
                assert [region["label"]] == value[tag.lower()]
                if tag == "RectangleLabels":
                    assert {key: region[key] for key in value if key in region} == {
                        key: value[key] for key in ("x", "y", "width", "height", "rotation")
                    }
                else:
                    rle = decode_rle(value["rle"]).reshape(
                        item["original_height"], item["original_width"], 4
                    )
                    assert np.array_equal(alpha_of(region["imageDataURL"]), rle[:, :, 3])
