"""Small ONNX graphs that end in a linear layer, and what they compute."""

from __future__ import annotations

import numpy as np
from active_learn.models import adapt
from onnx import TensorProto, helper, numpy_helper

N, D_IN, D, K = 7, 4, 5, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, D_IN)).astype(np.float32)
BODY = RNG.normal(size=(D_IN, D)).astype(np.float32)
HEAD = RNG.normal(size=(D, K)).astype(np.float32)
BIAS = RNG.normal(size=K).astype(np.float32)
HIDDEN = np.maximum(X @ BODY, 0)
LOGITS = HIDDEN @ HEAD + BIAS


def build(nodes, tensors, *, output="y", batch="n", dtype=TensorProto.FLOAT, output_shape=None):
    """Build a model: a MatMul and a Relu make ``h``, the given nodes do the rest."""
    body = [
        helper.make_node("MatMul", ["x", "body"], ["product"]),
        helper.make_node("Relu", ["product"], ["h"]),
    ]
    values = {"body": BODY, **tensors}
    if dtype != TensorProto.FLOAT:
        of = helper.tensor_dtype_to_np_dtype(dtype)
        values = {name: value.astype(of) for name, value in values.items()}
    graph = helper.make_graph(
        body + nodes,
        "model",
        [helper.make_tensor_value_info("x", dtype, [batch, D_IN])],
        [helper.make_tensor_value_info(output, dtype, output_shape or [batch, K])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def gemm(output="y", **attributes):
    weight = HEAD.T.copy() if attributes.get("transB") else HEAD
    node = helper.make_node("Gemm", ["h", "W", "b"], [output], name="head", **attributes)
    return [node], {"W": weight, "b": BIAS}


def run(model, samples=X, **options):
    adapter = adapt(model, **options)
    return adapter, adapter(samples)


def assert_reads(model, expected=LOGITS, **tolerance):
    adapter, output = run(model)
    tolerance = {"rtol": 1e-4, "atol": 1e-5, **tolerance}
    np.testing.assert_allclose(output.logits, expected, **tolerance)
    np.testing.assert_allclose(output.embedding, HIDDEN, **tolerance)
    np.testing.assert_allclose(
        output.embedding @ adapter.weight.T + adapter.bias, expected, **tolerance
    )


HEADS = {
    "gemm": gemm(),
    "gemm transposed": gemm(transB=1),
    "gemm without bias": ([helper.make_node("Gemm", ["h", "W"], ["y"])], {"W": HEAD}),
    "matmul": ([helper.make_node("MatMul", ["h", "W"], ["y"])], {"W": HEAD}),
    "matmul, add": (
        [
            helper.make_node("MatMul", ["h", "W"], ["m"]),
            helper.make_node("Add", ["m", "b"], ["y"]),
        ],
        {"W": HEAD, "b": BIAS},
    ),
    "matmul, add the other way": (
        [
            helper.make_node("MatMul", ["h", "W"], ["m"]),
            helper.make_node("Add", ["b", "m"], ["y"]),
        ],
        {"W": HEAD, "b": BIAS.reshape(1, K)},
    ),
    "weight behind a Transpose": (
        [
            helper.make_node("Transpose", ["Wt"], ["W"], perm=[1, 0]),
            helper.make_node("Gemm", ["h", "W", "b"], ["y"]),
        ],
        {"Wt": HEAD.T.copy(), "b": BIAS},
    ),
}


def scikit_learn(kind, scaler=True, tail=(), outputs=None, **attributes):
    """Build what skl2onnx writes of a pipeline: a Scaler and a linear model."""
    outputs = outputs or ["label", "scores"]
    nodes = [
        helper.make_node(
            "Scaler", ["x"], ["scaled"], domain="ai.onnx.ml", offset=[1.0] * 4, scale=[2.0] * 4
        ),
        helper.make_node(kind, ["scaled"], outputs, domain="ai.onnx.ml", **attributes),
        *tail,
    ]
    last = nodes[-1].output[0] if tail else outputs[-1]
    return build(nodes, {}, output=last, output_shape=["n", None])
