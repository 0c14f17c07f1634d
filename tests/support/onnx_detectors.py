"""ONNX detectors that the tests make: they see the mean of the red of an image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

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
