"""ONNX detectors with their JSON: both layouts, and what is said of those that do not fit."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from active_learn_backend.errors import SettingsError
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.labeling.regions import count_matches
from active_learn_backend.learning.heads.region_heads import find_regions
from active_learn_backend.learning.regions.boxes import boxes_of
from active_learn_backend.learning.regions.embedder import RegionEmbedder, open_embedder
from active_learn_backend.learning.user_models.model_files import copy_model, digest_of_model
from active_learn_backend.settings import Settings
from onnx_detectors import (
    BOXES,
    IMAGE,
    SIZE,
    picture_with_colors,
    save_color_detector,
    save_model,
)
from PIL import Image

CONFIG = (
    '<View><RectangleLabels name="box" toName="image"><Label value="Cat"/>'
    '<Label value="dog"/></RectangleLabels><Image name="image" value="$image"/></View>'
)


def yolo(folder: Path, **values: Any) -> Path:
    layout = np.array(BOXES, np.float32).T[None]
    regions = {"kind": "yolo", **values.pop("regions", {})}
    specification = {"labels": ["cat", "dog"], "inputs": [IMAGE], "regions": regions, **values}
    return save_model(folder / "yolo.onnx", {"output0": layout}, specification)


def chosen(folder: Path, labels: list[int], **regions: Any) -> Path:
    """Write a model with boxes, scores and labels, and features."""
    outputs = {
        "boxes": np.array([[[0.25, 0.5, 0.5, 0.25], [0, 0, 0.5, 0.5]]], np.float32),
        "scores": np.array([[0.75, 0.6]], np.float32),
        "labels": np.array([labels], np.int64),
        "states": np.array([[[1, 0, 0], [0, 2, 0]]], np.float32),
    }
    specification = {
        "labels": ["cat", "dog"],
        "inputs": [IMAGE],
        "regions": {"kind": "boxes", "format": "xywh", "unit": "share", **regions},
    }
    return save_model(folder / "chosen.onnx", outputs, specification)


def opened(path: Path, folder: Path, **values: Any) -> RegionEmbedder:
    settings = Settings(model_dir=folder, model=str(path), **values)
    file = io.BytesIO()
    Image.new("RGB", (40, 20), "#ff0000").save(file, "PNG")
    task = parse_label_config(CONFIG)
    found = open_embedder(settings, 1, task, lambda *_: file.getvalue())
    assert isinstance(found, RegionEmbedder)
    return found


def parts(embedder: RegionEmbedder) -> Any:
    tasks, _, failed = embedder.embed([{"image": "/a"}], ["0" * 32])
    assert not failed
    return tasks.parts["box"]


def proposals(embedder: RegionEmbedder) -> list[tuple[list[float], str, float]]:
    head = embedder.fixed_heads["box"]
    (answer,) = find_regions(head, embedder.parts["box"].kind, parts(embedder))
    return [
        ([round(side, 2) for side in (*one.start, *one.end)], one.label, round(one.score, 2))
        for one in answer.regions
    ]


class TestYolo:
    def test_of_two_boxes_of_one_class_the_surer_is_proposed(self, tmp_path):
        found = proposals(opened(yolo(tmp_path), tmp_path))
        at = [100 * side / SIZE for side in (10, 10, 30, 30, 11, 31)]
        assert found == [
            ([round(side, 2) for side in at[:4]], "Cat", 0.9),
            ([round(at[4], 2), round(at[0], 2), round(at[5], 2), round(at[2], 2)], "dog", 0.7),
        ]

    def test_what_is_unsure_and_the_whole_image_are_parts_too(self, tmp_path):
        embedder = opened(yolo(tmp_path), tmp_path)
        tasks = parts(embedder)
        places = boxes_of(tasks[np.array([0])].places)
        assert len(places) == 4
        assert places[0].tolist() == [0, 0, 100, 100]
        head, kind = embedder.fixed_heads["box"], embedder.parts["box"].kind
        (answer,) = find_regions(head, kind, tasks)
        assert answer.tags.tolist() == [0, 1, 2, 0]
        assert answer.doubts[0] < 0.01 < answer.doubts[3]

    def test_a_letterbox_is_undone(self, tmp_path):
        """A picture of 40 x 20 takes the middle half of the height."""
        image = {**IMAGE, "fit": "letterbox"}
        # Beside the picture lies gray: red is less, so are boxes and scores.
        red = 0.5 + 0.5 * 0x72 / 255
        layout = np.array([[32, 32, 32, 16, 0.9, 0.0]], np.float32).T[None] / np.float32(red)
        regions = {"kind": "yolo", "name": "output0"}
        specification = {"labels": ["cat", "dog"], "inputs": [image], "regions": regions}
        path = save_model(tmp_path / "yolo.onnx", {"output0": layout}, specification)
        ((box, label, score),) = proposals(opened(path, tmp_path))
        assert np.allclose(box, [25, 25, 75, 75], atol=0.05)
        assert (label, score) == ("Cat", 0.9)

    def test_the_pixels_describe_its_boxes(self, tmp_path):
        as_is = opened(yolo(tmp_path), tmp_path)
        encoder = opened(yolo(tmp_path), tmp_path, model_use="encoder")
        rows = parts(encoder)[np.array([0])].rows.astype(np.float32)
        assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-2)
        assert as_is.parts["box"].n_features == rows.shape[1] + 2


class TestChosenBoxes:
    def test_they_are_proposed_with_their_labels(self, tmp_path):
        found = proposals(opened(chosen(tmp_path, [1, 0]), tmp_path))
        assert found == [([0, 0, 50, 50], "Cat", 0.6), ([25, 50, 75, 75], "dog", 0.75)]

    def test_its_features_are_those_of_the_parts(self, tmp_path):
        path = chosen(tmp_path, [1, 0], features="states")
        rows = parts(opened(path, tmp_path, model_use="encoder"))[np.array([0])].rows
        assert rows[1:].tolist() == [[1, 0, 0], [0, 1, 0]]


class TestWhatDoesNotFit:
    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ({"labels": ["cat", "dog", "fox"]}, r"gives 'output0' of shape \(1, 6, 5\); expected"),
            ({"labels": []}, "names no labels"),
            ({"regions": {"name": "boxes"}}, "has no output 'boxes'; it has output0"),
            ({"regions": {"iou": 0.5}}, "is wrong: regions.yolo.iou"),
            ({"inputs": [{"kind": "text"}]}, "other inputs than one of kind 'image'"),
            ({"inputs": [{**IMAGE, "name": "x"}]}, "takes image; a detector takes one image"),
            (
                {"labels": ["cat", "fox"]},
                "labels without a class: 'dog'; .* without a label: 'fox'",
            ),
        ],
    )
    def test_the_json(self, tmp_path, values, said):
        with pytest.raises(SettingsError, match=said):
            opened(yolo(tmp_path, **values), tmp_path)

    def test_a_class_that_is_not_named(self, tmp_path):
        with pytest.raises(
            SettingsError, match="gives the class 2, and its JSON names the classes"
        ):
            opened(chosen(tmp_path, [0, 2]), tmp_path)

    def test_scores_that_are_no_probabilities(self, tmp_path):
        layout = np.array([[1, 1, 1, 1, 7, 0]], np.float32).T[None]
        specification = {"labels": ["cat", "dog"], "inputs": [IMAGE], "regions": {"kind": "yolo"}}
        path = save_model(tmp_path / "m.onnx", {"output0": layout * 2}, specification)
        with pytest.raises(
            SettingsError, match=r"gives scores from 0 to .*; expected probabilities"
        ):
            opened(path, tmp_path)

    def test_a_file_that_is_no_onnx(self, tmp_path):
        path = yolo(tmp_path)
        path.write_bytes(b"no model")
        with pytest.raises(SettingsError, match=r"MODEL '.*' cannot be used: no ONNX model"):
            opened(path, tmp_path)


def test_it_is_copied_with_its_json(tmp_path):
    path = yolo(tmp_path)
    copied = copy_model(path, tmp_path / "copy")
    assert digest_of_model(copied) == digest_of_model(path)
    assert proposals(opened(copied, tmp_path)) == proposals(opened(path, tmp_path))


@pytest.mark.parametrize("fit", ["letterbox", "stretch"])
def test_it_finds_what_pictures_show_where_it_is(tmp_path, fit):
    """Pictures of all proportions, some of them stored on their side."""
    rng, pictures = np.random.default_rng(4), {}
    for at in range(10):
        image, boxes = picture_with_colors(rng)
        exif, file = Image.Exif(), io.BytesIO()
        if at % 2:
            exif[0x0112] = 6  # to be turned clockwise by a quarter
            image = image.transpose(Image.Transpose.ROTATE_90)
        image.save(file, "PNG", exif=exif)
        pictures[f"/{at}"] = file.getvalue(), boxes
    path = save_color_detector(tmp_path / "models" / "colors.onnx", fit)
    settings = Settings(model_dir=tmp_path, model=str(path))
    config = CONFIG.replace("Cat", "red").replace("dog", "blue")
    task = parse_label_config(config)
    embedder = open_embedder(settings, 1, task, lambda address: pictures[address][0])
    assert isinstance(embedder, RegionEmbedder)
    keys = [f"{at:032x}" for at in range(len(pictures))]
    tasks, *_ = embedder.embed([{"image": one} for one in pictures], keys)
    kind = embedder.parts["box"].kind
    found = find_regions(embedder.fixed_heads["box"], kind, tasks.parts["box"])
    right = sum(
        count_matches(boxes, [one[:3] for one in answer.regions])
        for answer, (_, boxes) in zip(found, pictures.values(), strict=True)
    )
    n = sum(len(boxes) for _, boxes in pictures.values())
    assert right >= (0.9 if fit == "letterbox" else 0.6) * n
    assert n > 7
    assert right >= 0.9 * sum(len(answer.regions) for answer in found)
