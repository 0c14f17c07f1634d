"""ONNX detectors that the tests make: of fixed boxes by the red of an image, and of colors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw

SIZE = 64
IMAGE = {"kind": "image", "size": [SIZE, SIZE]}
# Center, size, and the scores of cat and dog: two boxes that are almost one, one unsure, one more.
BOXES = [
    [20, 20, 20, 20, 0.9, 0.1],
    [21, 20, 20, 20, 0.8, 0.1],
    [21, 20, 20, 20, 0.2, 0.7],
    [50, 50, 10, 10, 0.3, 0.1],
    [40, 10, 8, 8, 0.01, 0.01],
]


def save_model(path: Path, outputs: dict[str, np.ndarray], specification: dict[str, Any]) -> Path:
    """Write a model that gives the same for each image, times the mean of its red (1 if red)."""
    channels = helper.make_node("ReduceMean", ["image"], ["means"], axes=[2, 3], keepdims=0)
    red = helper.make_node("Slice", ["means", "from", "to"], ["red"])
    nodes = [channels, red, helper.make_node("Squeeze", ["red"], ["one"])]
    constants = [
        numpy_helper.from_array(np.array([0, 0], np.int64), "from"),
        numpy_helper.from_array(np.array([1, 1], np.int64), "to"),
    ]
    infos = []
    for name, value in outputs.items():
        constants.append(numpy_helper.from_array(value, f"{name}_is"))
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        if value.dtype == np.float32:
            nodes.append(helper.make_node("Mul", [f"{name}_is", "one"], [name]))
        else:
            nodes.append(helper.make_node("Identity", [f"{name}_is"], [name]))
        infos.append(helper.make_tensor_value_info(name, kind, value.shape))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIZE, SIZE])
    graph = helper.make_graph(nodes, "detector", [image], infos, constants)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9), path
    )
    path.with_name(path.name + ".json").write_text(json.dumps(specification))
    return path


def save_yolo(folder: Path) -> Path:
    """Write a model in the layout of YOLO, with cats and dogs."""
    folder.mkdir(parents=True, exist_ok=True)
    specification = {"labels": ["cat", "dog"], "inputs": [IMAGE], "regions": {"kind": "yolo"}}
    layout = np.array(BOXES, np.float32).T[None]
    return save_model(folder / "yolo.onnx", {"output0": layout}, specification)


COLORS = ["red", "blue"]
SIDE = 96
SIDES = (17, 22, 28)  # pixels of the sides of its candidates
STRIDE, BORDER = 3, 3


def save_color_detector(path: Path, fit: str = "letterbox") -> Path:
    """Write a YOLO that finds red and blue rectangles: what a box holds, less what is around it."""
    nodes = [
        helper.make_node("Conv", ["image", "weight", "bias"], ["contrast"], kernel_shape=[1, 1]),
        helper.make_node("Clip", ["contrast", "zero", "one"], ["covered"]),
        helper.make_node("Pad", ["covered", "border"], ["padded"]),
    ]
    weight = 4 * np.array([[1, -0.5, -0.5], [-0.5, -0.5, 1]], np.float32)[:, :, None, None]
    constants = {
        "weight": weight,
        "bias": np.full(2, -1.2, np.float32),
        "zero": np.float32(0),
        "one": np.float32(1),
        "border": np.array([0, 0, BORDER, BORDER] * 2, np.int64),
        "flat": np.array([1, 2, -1], np.int64),
    }
    boxes, scores = [], []
    for width, height in ((w, h) for w in SIDES for h in SIDES):
        y, x = (np.arange(0, SIDE - side + 1, STRIDE) + side / 2 for side in (height, width))
        down, across = np.meshgrid(y, x, indexing="ij")
        sides = [np.full(down.size, side, np.float32) for side in (width, height)]
        boxes.append(np.stack([across.ravel(), down.ravel(), *sides]))
        name, inner = f"{width}_{height}", width * height
        outer = (width + 2 * BORDER) * (height + 2 * BORDER)
        # inside - (outer * around - inner * inside) / (outer - inner) - 0.3, by 0.7
        constants |= {
            f"inside_{name}": np.float32(outer / (outer - inner) / 0.7),
            f"around_{name}": np.float32(-outer / (outer - inner) / 0.7),
        }
        for what, source, kernel in (
            ("inside", "covered", [height, width]),
            ("around", "padded", [height + 2 * BORDER, width + 2 * BORDER]),
        ):
            pooled = f"{what}_mean_{name}"
            nodes += [
                helper.make_node("AveragePool", [source], [pooled], kernel_shape=kernel,
                                 strides=[STRIDE, STRIDE]),
                helper.make_node("Mul", [pooled, f"{what}_{name}"], [f"{what}_part_{name}"]),
            ]  # fmt: skip
        nodes += [
            helper.make_node("Add", [f"inside_part_{name}", f"around_part_{name}"], [f"s_{name}"]),
            helper.make_node("Reshape", [f"s_{name}", "flat"], [f"flat_{name}"]),
        ]
        scores.append(f"flat_{name}")
    constants |= {
        "boxes": np.concatenate(boxes, axis=1).astype(np.float32)[None],
        "least": np.float32(0.3 / 0.7),
    }
    nodes += [
        helper.make_node("Concat", scores, ["contrasts"], axis=2),
        helper.make_node("Sub", ["contrasts", "least"], ["above"]),
        helper.make_node("Clip", ["above", "zero", "one"], ["scores"]),
        helper.make_node("Concat", ["boxes", "scores"], ["output0"], axis=1),
    ]
    n = constants["boxes"].shape[2]
    graph = helper.make_graph(
        nodes,
        "colors",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 6, n])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9), path
    )
    specification = {
        "labels": COLORS,
        "inputs": [{"kind": "image", "size": [SIDE, SIDE], "fit": fit}],
        "regions": {"kind": "yolo", "overlap": 0.2},
    }
    path.with_name(path.name + ".json").write_text(json.dumps(specification))
    return path


def picture_with_colors(rng: np.random.Generator) -> tuple[Image.Image, list[list[Any]]]:
    """Draw red and blue rectangles on a noisy ground; return their boxes in percent, and colors."""
    width, height = (int(side) for side in rng.integers(180, 300, 2))
    ground = rng.normal(120, 15, (height, width, 3)) + rng.normal(0, 5, 3)
    image = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
    draw, boxes, unit = ImageDraw.Draw(image), [], max(width, height) / SIDE
    columns = rng.permutation(2)[: rng.integers(0, 3)]  # one in the left half, one in the right one
    for column in columns:
        w = int(rng.uniform(SIDES[0], min(SIDES[-1], width / unit / 2 - 8)) * unit)
        h = int(rng.uniform(SIDES[0], min(SIDES[-1], height / unit - 8)) * unit)
        x = int(column * width / 2 + rng.uniform(4 * unit, width / 2 - w - 4 * unit))
        y = int(rng.uniform(4 * unit, height - h - 4 * unit))
        color = str(rng.choice(COLORS))
        strong = int(rng.uniform(190, 250))
        draw.rectangle(
            [x, y, x + w, y + h], fill=(strong, 40, 40) if color == "red" else (40, 40, strong)
        )
        box = [100 * x / width, 100 * y / height], [100 * (x + w) / width, 100 * (y + h) / height]
        boxes.append([*box, color])
    return image, boxes
