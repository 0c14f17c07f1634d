"""Polygons, key points and masks in images: they are read, learned, proposed, and measured."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from active_learn import ActiveSampler, PooledTasks
from active_learn_backend.labeling.bitmask_png import write_bitmask
from active_learn_backend.labeling.brush_rle import write_brush
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.labeling.masks import rasterise
from active_learn_backend.labeling.regions import count_matches
from active_learn_backend.labelstudio.exports import read_export
from active_learn_backend.learning.quality.region_backtest import (
    LabeledRegions,
    backtest_regions,
    region_candidates,
)
from active_learn_backend.settings import load_settings
from active_learn_backend.state.queue import read_queue
from active_learn_backend.state.rounds import last_round
from active_learn_backend.state.tasks import read_tasks
from active_learn_backend.web.app import create_app
from fake_label_studio import FakeLabelStudio
from label_studio_sdk.converter.brush import decode_rle
from media_files import picture_with_boxes
from worker_backend import Backend

NAMES = '<Label value="disk"/><Label value="stripes"/>'
CONFIG = (
    '<View><Image name="image" value="$text"/>'
    f'<PolygonLabels name="outline" toName="image">{NAMES}</PolygonLabels>'
    f'<KeyPointLabels name="middle" toName="image">{NAMES}</KeyPointLabels>'
    f'<BrushLabels name="mask" toName="image">{NAMES}</BrushLabels>'
    f'<BitmaskLabels name="pixels" toName="image">{NAMES}</BitmaskLabels></View>'
)
CONTROLS = {one.from_name: one for one in parse_label_config(CONFIG).controls}
PICTURES = 50
Boxes = list[list[Any]]


def annotation(boxes: Boxes, size: tuple[int, int]) -> list[dict[str, Any]]:
    """What a person draws: the outlines of disks and of stripes, their middles and masks."""
    result = []
    for (left, top), (right, bottom), name in boxes:
        x, y, across, down = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
        outline = [[left, top], [right, top], [right, bottom], [left, bottom]]
        if name == "disk":
            turns = np.linspace(0, 2 * math.pi, 30).tolist()
            outline = [
                [x + across / 2 * math.cos(one), y + down / 2 * math.sin(one)] for one in turns
            ]
        polygon = {"points": outline, "closed": True, "polygonlabels": [name]}
        point = {"x": x, "y": y, "width": 1, "keypointlabels": [name]}
        drawn = rasterise([(a, b) for a, b in outline])
        code = write_brush(drawn, *size)
        brush = {"format": "rle", "rle": code, "brushlabels": [name]}
        sized = brush | {"original_width": size[0], "original_height": size[1]}
        pixels = {"imageDataURL": write_bitmask(drawn, *size), "bitmasklabels": [name]}
        values = {"outline": polygon, "middle": point, "mask": sized, "pixels": pixels}
        for control, value in values.items():
            result += CONTROLS[control].item(value, None)
    return result


@lru_cache(maxsize=1)
def drawn_pictures() -> dict[str, list[dict[str, Any]]]:
    """Return addresses of pictures, with what a person draws in them."""
    rng, pictures = np.random.default_rng(3), {}
    for _ in range(PICTURES):
        image, boxes = picture_with_boxes(rng)
        file = io.BytesIO()
        image.save(file, "PNG")
        address = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
        pictures[address] = annotation(boxes, image.size)
    return pictures


def bytes_of(address: str, *_: Any) -> bytes:
    return base64.b64decode(address.partition(",")[2])


def test_a_backtest_replays_points(tmp_path: Path) -> None:
    tasks = [
        {"data": {"text": address}, "annotations": [{"result": result}]}
        for address, result in drawn_pictures().items()
    ]
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    task, rows = read_export(tmp_path / "export.json", CONFIG)
    settings = load_settings(model_dir=tmp_path, controls="middle")
    data = LabeledRegions.embed(settings, 0, task, rows, bytes_of)
    assert data.kind.metric == "F1 of points within 6.25 %"
    found = backtest_regions(data, region_candidates(["random", "auto"]), batch=10, seeds=1)
    scores = {
        name: [row["score"] for row in found.rows if row["strategy"] == name]
        for name in ("random", "auto")
    }
    assert max(scores["random"]) > 0.3
    assert scores["auto"] == scores["random"]


def test_points_are_marked_in_random_order(backend: Backend, studio: FakeLabelStudio) -> None:
    """Each order that was tried taught less; a strategy that the settings name still counts."""
    names = f'<Image name="image" value="$text"/><KeyPointLabels name="p" toName="image">{NAMES}'
    config = f"<View>{names}</KeyPointLabels></View>"
    project = studio.add_project(list(drawn_pictures())[:16], config)
    backend.store.register(project)
    backend.store.update(project, mode="pull")

    def queue(**options: Any) -> list[int]:
        backend.turn(project, audit=0.0, budget=8, **options)
        return [row.task_id for row in read_queue(backend.store, project)]

    def by_chance(tasks: list[int]) -> list[int]:
        n = len(tasks)
        sampler = ActiveSampler("tagging", None, 8, strategy="random", random_state=0)
        order = sampler.rank(PooledTasks(np.ones((n, 2)), np.ones(n), np.ones(n)), n).indices
        return [tasks[at] for at in order]

    tasks = sorted(studio.tasks)
    first = queue()
    assert first == by_chance(tasks)[: len(first)]
    (control,) = parse_label_config(config).controls
    for at, task in enumerate(first[:8]):
        point = [10.0 * (at + 1), 50.0]
        studio.submit(task, control.write([[point, point, "disk"]]))
    left = [task for task in tasks if task not in first[:8]]
    later = queue()
    assert backend.store.known_project(project).head_round == 2
    assert later == by_chance(left)[: len(later)]
    studio.submit(later[0], control.write([[point, point, "stripes"]]))
    left.remove(later[0])
    assert queue(strategy="aopt") != by_chance(left)


def test_shapes_and_points_are_learned_proposed_and_measured(
    backend: Backend, studio: FakeLabelStudio
) -> None:
    pictures = dict(list(drawn_pictures().items())[:40])
    project = studio.add_project(pictures, CONFIG)
    backend.store.register(project)
    backend.store.update(project, mode="pull")

    def truth(task: int) -> list[dict[str, Any]]:
        return pictures[studio.tasks[task]["data"]["text"]]

    settings = {"budget": 12, "audit": 0.3, "prelabel": "head"}
    for _ in range(2):
        backend.turn(project, **settings)
        for row in read_queue(backend.store, project)[:12]:
            studio.submit(row.task_id, truth(row.task_id))
    backend.turn(project, **settings)
    kept = {row.task_id: row.labels for row in read_tasks(backend.store, project)}
    done = {task: labels for task, labels in kept.items() if labels is not None}
    assert len(done) == 24
    for task, labels in done.items():
        assert labels == {name: one.read(truth(task)) for name, one in CONTROLS.items()}

    rows = [row for row in studio.rows.values() if row["model_version"] == "al-3"]
    shares = {}
    for name, control in CONTROLS.items():
        right = both = 0
        for row in rows:
            found, expected = control.read(row["result"]), control.read(truth(row["task"]))
            right += 2 * count_matches(expected, found)
            both += len(expected) + len(found)
        shares[name] = right / both
    report = last_round(backend.store, project)
    assert report is not None
    print(shares)
    assert shares["outline"] > 0.6
    assert shares["middle"] > 0.6
    assert shares["mask"] > 0.6
    assert shares["pixels"] == shares["mask"]
    masks = [one for row in rows for one in row["result"] if one["type"] == "brushlabels"]
    for one in masks:
        pixels = one["original_width"] * one["original_height"]
        assert len(decode_rle(one["value"]["rle"])) == 4 * pixels
    audits = [one.evaluation.audit for one in report.controls]
    metric = "F1 at IoU .5"
    assert [one.metric for one in audits if one] == [
        metric,
        "F1 of points within 6.25 %",
        *[metric] * 2,
    ]
    page = create_app(backend.settings()).test_client()
    html = page.get(f"/projects/{project}", headers={"Accept": "text/html"}).text
    assert f"Project {project}, regions, polled" in html  # four controls, each once
    assert re.search(r'<path class="region label-[01]" d="M[\d.]+ [\d.]+L', html)
    assert re.search(r'd="M[\d.]+ [\d.]+h0"><title>(disk|stripes) \d+', html)
    assert re.search(r"cells unsure; proposed: (disk|stripes) \(\d+ %\)", html)
