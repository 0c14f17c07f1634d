"""The head at the end of the graph: its linear layer, its temperature, and the answers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from active_learn.heads import TrainedHead
from onnx import ModelProto, TensorProto, helper

from .graph_part import GraphPart, Nodes

__all__ = ["NEVER", "build_model", "labels_of"]

#: The logit of a label that has no example yet: its probability is 0 in float32.
NEVER = -1000.0
LARGEST = 2**31 - 1  # bytes of one file of Protocol Buffers


def labels_of(head: TrainedHead) -> tuple[str, ...]:
    """Return the label of each output: those seen so far, then those without an example."""
    unseen = [label for label in head.labels_offered if label not in head.classes]
    return (*head.classes, *unseen)


def build_model(parts: Sequence[GraphPart], head: TrainedHead) -> ModelProto:
    """Return the model of the parts and a head that reads their vectors side by side.

    Its outputs are ``logits``, which are calibrated, and ``probabilities``; in regression
    ``prediction``.
    """
    nodes = Nodes("head_")
    vectors = parts[0].output
    if len(parts) > 1:
        vectors = nodes.add("Concat", *(part.output for part in parts), axis=1)
    outputs = _add_head(nodes, vectors, head)
    n_outputs = len(labels_of(head)) or 1
    graph = helper.make_graph(
        [node for part in parts for node in part.nodes] + nodes.nodes,
        "active_learn",
        [one for part in parts for one in part.inputs],
        [helper.make_tensor_value_info(o, TensorProto.FLOAT, ["n", n_outputs]) for o in outputs],
        [tensor for part in parts for tensor in part.constants] + nodes.constants,
    )
    opsets: dict[str, int] = {}
    for part in parts:
        for domain, version in part.opsets.items():
            opsets[domain] = max(version, opsets.get(domain, 0))
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid(*one) for one in opsets.items()],
        functions=[function for part in parts for function in part.functions],
        producer_name="label-studio-active-sampler",
    )
    model.ir_version = helper.find_min_ir_version_for(model.opset_import, ignore_unknown=True)
    onnx.checker.check_model(model)
    return model


def _add_head(nodes: Nodes, vectors: str, head: TrainedHead) -> list[str]:
    """Add the head, and return the names of its outputs."""
    weight, bias = _calibrated(head)
    features = vectors
    if head.cosines is not None:
        features = _add_cosines(nodes, vectors, head)
    linear = [features, nodes.constant(weight), nodes.constant(bias)]
    if head.problem_type == "regression":
        bounds = head.metadata.config.bounds
        if bounds is None:
            return [nodes.add("Gemm", *linear, name="prediction", transB=1)]
        free = nodes.add("Gemm", *linear, name="prediction_without_bounds", transB=1)
        limits = [nodes.constant(bound) for bound in bounds]
        return [nodes.add("Clip", free, *limits, name="prediction"), free]
    logits = nodes.add("Gemm", *linear, name="logits", transB=1)
    if head.problem_type == "multilabel":
        return [nodes.add("Sigmoid", logits, name="probabilities"), logits]
    return [nodes.add("Softmax", logits, name="probabilities", axis=1), logits]


def _calibrated(head: TrainedHead) -> tuple[np.ndarray, np.ndarray]:
    """Return weight (K, d) and bias (K,) with the temperature in them, for all labels."""
    temperature = np.float32(head.metadata.hyperparameters.temperature)
    weight, bias = head.weight / temperature, head.bias / temperature
    unseen = (len(labels_of(head)) or 1) - len(bias)
    weight = np.concatenate([weight, np.zeros((unseen, weight.shape[1]), np.float32)])
    return weight, np.concatenate([bias, np.full(unseen, NEVER, np.float32)])


def _add_cosines(nodes: Nodes, vectors: str, head: TrainedHead) -> str:
    """Add the random cosines that a head is linear in."""
    assert head.cosines is not None
    directions, phases = head.cosines.drawn
    # float64: the cosine of a large number has no digits left in float32.
    double = nodes.add("Cast", vectors, to=TensorProto.DOUBLE)
    scaled = nodes.add("Div", double, nodes.constant(head.cosines.width, np.float64))
    angles = nodes.add("MatMul", scaled, nodes.constant(directions, np.float64))
    angles = nodes.add("Add", angles, nodes.constant(phases, np.float64))
    # ONNX Runtime has cosines of float32 only: of the angle within a turn.
    turn = nodes.constant(2 * np.pi, np.float64)
    turns = nodes.add("Floor", nodes.add("Div", angles, turn))
    within = nodes.add("Sub", angles, nodes.add("Mul", turns, turn))
    cosines = nodes.add("Cos", nodes.add("Cast", within, to=TensorProto.FLOAT))
    return nodes.add("Mul", cosines, nodes.constant((2 / len(phases)) ** 0.5))
