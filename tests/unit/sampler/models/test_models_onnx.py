"""Particulars of ONNX models: forms of a last layer, fixed batches, damaged and hostile files."""

from __future__ import annotations

import os

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from active_learn.errors import ActiveLearnError, DataError, ModelError, ParameterError
from active_learn.models import adapt, onnx_model
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import quantization
from onnxruntime.quantization import QuantType
from torch import nn

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


@pytest.mark.parametrize("name", HEADS)
def test_forms_of_the_last_layer(name):
    nodes, tensors = HEADS[name]
    assert_reads(build(nodes, tensors), LOGITS if "b" in tensors else HIDDEN @ HEAD)


def test_gemm_scales():
    nodes, tensors = gemm(alpha=0.5, beta=2.0)
    assert_reads(build(nodes, tensors), 0.5 * HIDDEN @ HEAD + 2 * BIAS)


def test_a_quantized_weight():
    scale = np.float32(np.abs(HEAD).max() / 127)
    nodes, tensors = gemm()
    nodes.insert(0, helper.make_node("DequantizeLinear", ["Wq", "scale", "zero"], ["W"]))
    tensors = {
        "Wq": np.round(HEAD / scale).astype(np.int8),
        "scale": np.array(scale),
        "zero": np.array(0, np.int8),
        "b": BIAS,
    }
    assert_reads(build(nodes, tensors), HIDDEN @ (tensors["Wq"] * scale) + BIAS)


class Calibration:
    """The samples by which a quantizer sets its scales."""

    def __init__(self):
        self.batches = [{"x": X}]

    def get_next(self):
        return self.batches.pop() if self.batches else None


def quantized(tmp_path, name, form, **options):
    """Quantize a model as ONNX Runtime does."""
    float_path, path = tmp_path / "float.onnx", tmp_path / f"{form}.onnx"
    onnx.save(build(*HEADS[name]), float_path)
    if form == "dynamic":
        quantization.quantize_dynamic(float_path, path, **options)
    else:
        quant_format = getattr(quantization.QuantFormat, form)
        quantization.quantize_static(
            float_path, path, Calibration(), quant_format=quant_format, **options
        )
    return path


@pytest.mark.parametrize("per_channel", [False, True], ids=["", "per channel"])
@pytest.mark.parametrize("form", ["dynamic", "QDQ"])
@pytest.mark.parametrize("name", ["gemm", "gemm transposed", "matmul", "matmul, add"])
def test_quantized_files(tmp_path, name, form, per_channel):
    path = quantized(tmp_path, name, form, per_channel=per_channel)
    exact = LOGITS if "b" in HEADS[name][1] else HIDDEN @ HEAD
    assert_reads(path, exact, atol=0.15)  # 8 bits of numbers up to 5
    # In exact agreement with what ONNX Runtime gives, but for the rounding of the result.
    alone = ort.InferenceSession(path).run(None, {"x": X})[0]
    rounding = 0 if form == "dynamic" else np.abs(exact).max() / 100
    np.testing.assert_allclose(run(path)[1].logits, alone, atol=rounding + 1e-6)


def test_the_batch_size_of_a_dynamically_quantized_file_does_not_depend_on_time(
    tmp_path, monkeypatch
):
    adapter = run(quantized(tmp_path, "gemm", "dynamic"))[0]
    monkeypatch.setattr("time.perf_counter", lambda: 0.0)  # larger batches cost nothing
    adapter(np.tile(X, (1000 // len(X), 1)))
    assert adapter.batch_size == 64


def test_a_dynamically_quantized_file_of_unsigned_weights(tmp_path):
    assert_reads(quantized(tmp_path, "gemm", "dynamic", weight_type=QuantType.QUInt8), atol=0.15)


@pytest.mark.parametrize("name", ["gemm", "matmul", "matmul, add"])
def test_a_quantized_file_that_hides_the_layer_says_what_to_do(tmp_path, name):
    with pytest.raises(ModelError, match=r"QDQ format, or leave .* out by nodes_to_exclude"):
        run(quantized(tmp_path, name, "QOperator"))


def test_a_quantized_file_without_its_last_layer(tmp_path):
    path = quantized(tmp_path, "gemm", "QOperator", nodes_to_exclude=["head"])
    assert_reads(path, atol=0.15)


def two_outputs(first, second, nodes, tensors):
    """Build a model with two outputs of shape (n, 3)."""
    model = build(nodes, tensors, output=first)
    model.graph.output.append(helper.make_tensor_value_info(second, TensorProto.FLOAT, ["n", K]))
    return model


def embedding_and_logits(embedding, logits, tail="Identity"):
    """Build a model whose embedding is a linear layer of its own, which the logits read."""
    nodes = [
        helper.make_node("Gemm", ["h", "W", "b"], [embedding], name="project"),
        helper.make_node("Gemm", [embedding, "W2"], ["z"], name="head"),
        helper.make_node(tail, ["z"], [logits], name="tail"),
    ]
    tensors = {"W": HEAD, "b": BIAS, "W2": np.diag([1.0, -2.0, 3.0]).astype(np.float32)}
    return two_outputs(embedding, logits, nodes, tensors)


@pytest.mark.parametrize(
    ("embedding", "logits"), [("embedding", "logits"), ("e", "y"), ("sentence_embedding", "out")]
)
@pytest.mark.parametrize("tail", ["Identity", "Softmax"])
def test_an_embedding_beside_the_logits_is_not_taken_for_them(embedding, logits, tail):
    expected = LOGITS * [1.0, -2.0, 3.0]
    for swapped in (False, True):
        model = embedding_and_logits(embedding, logits, tail)
        if swapped:
            outputs = [*model.graph.output][::-1]
            del model.graph.output[:]
            model.graph.output.extend(outputs)
        output = run(model)[1]
        np.testing.assert_allclose(output.logits, expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(output.embedding, LOGITS, rtol=1e-4, atol=1e-5)


def test_an_embedding_is_not_taken_where_the_logits_cannot_be():
    with pytest.raises(ModelError, match=r"output 'logits': node 'tail' \(Tanh\) stands where"):
        run(embedding_and_logits("e", "logits", "Tanh"))
    message = r"output 'e': node 'head' \(Gemm\) reads it; name the output .* 'logits'"
    with pytest.raises(ModelError, match=message):
        run(embedding_and_logits("e", "y", "Tanh"))


def two_heads(first, second):
    nodes = [
        helper.make_node("Gemm", ["h", "W", "b"], [first]),
        helper.make_node("Gemm", ["h", "W2"], [second]),
    ]
    return two_outputs(first, second, nodes, {"W": HEAD, "b": BIAS, "W2": -HEAD})


def test_two_heads_are_ambiguous_unless_one_is_named_for_the_predictions():
    message = r"several outputs .* \('one', 'two'\); name the output with the predictions 'logits'"
    with pytest.raises(ModelError, match=message):
        run(two_heads("one", "two"))
    assert_reads(two_heads("logits", "aux_logits"))
    assert_reads(two_heads("probabilities", "two"))
    assert_reads(two_heads("one", "pooled_features"))


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


WIDE = BODY @ HEAD  # (4, 3): coefficients on the inputs
SCALED = 2 * (X - 1)


@pytest.mark.parametrize("transform", ["SOFTMAX", "LOGISTIC", "NONE"])
@pytest.mark.parametrize("normalized", [False, True])
def test_a_classifier_of_scikit_learn(transform, normalized):
    tail = [helper.make_node("Normalizer", ["scores"], ["p"], domain="ai.onnx.ml", norm="L1")]
    model = scikit_learn(
        "LinearClassifier",
        tail=tail if normalized else (),
        coefficients=WIDE.T.ravel().tolist(),
        intercepts=BIAS.tolist(),
        post_transform=transform,
        classlabels_ints=[0, 1, 2],
    )
    adapter, output = run(model)
    np.testing.assert_allclose(output.embedding, SCALED, rtol=1e-5)
    np.testing.assert_allclose(output.logits, SCALED @ WIDE + BIAS, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(adapter.weight, WIDE.T)
    if transform == "SOFTMAX" and not normalized:
        alone = ort.InferenceSession(model.SerializeToString()).run(None, {"x": X})[0]
        np.testing.assert_allclose(output.logits.softmax(1), alone, atol=1e-4)


def test_a_binary_classifier_of_scikit_learn_has_one_logit():
    model = scikit_learn(
        "LinearClassifier",
        coefficients=[*(-WIDE[:, 0]), *WIDE[:, 0]],
        intercepts=[-0.5, 0.5],
        post_transform="LOGISTIC",
        classlabels_strings=["no", "yes"],
    )
    _, output = run(model)
    assert output.logits.shape == (N, 1)
    alone = ort.InferenceSession(model.SerializeToString()).run(None, {"x": X})[0]
    np.testing.assert_allclose(output.logits.sigmoid()[:, 0], alone[:, 1], atol=1e-4)


@pytest.mark.parametrize("n_targets", [1, 3])
def test_a_regressor_of_scikit_learn(n_targets):
    model = scikit_learn(
        "LinearRegressor",
        outputs=["variable"],
        coefficients=WIDE.T[:n_targets].ravel().tolist(),
        intercepts=BIAS[:n_targets].tolist(),
        targets=n_targets,
    )
    _, output = run(model)
    alone = ort.InferenceSession(model.SerializeToString()).run(None, {"x": X})[0]
    np.testing.assert_allclose(output.logits, alone, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(output.embedding, SCALED, rtol=1e-5)


def test_other_models_of_scikit_learn_name_the_way_out():
    tail = [helper.make_node("Tanh", ["scores"], ["y"], name="squash")]
    message = r"'squash' \(Tanh\) stands .* give LinearHead\(model.coef_, model.intercept_\)"
    with pytest.raises(ModelError, match=message):
        run(
            scikit_learn(
                "LinearClassifier", tail=tail, coefficients=[0.0] * 12, classlabels_ints=[0, 1, 2]
            )
        )
    with pytest.raises(ModelError, match="transforms its logits by PROBIT"):
        run(
            scikit_learn(
                "LinearClassifier",
                coefficients=[0.0] * 12,
                intercepts=[0.0] * 3,
                post_transform="PROBIT",
                classlabels_ints=[0, 1, 2],
            )
        )


def test_no_message_advises_a_layer_of_pytorch(monkeypatch):
    monkeypatch.setattr(onnx_model, "read_head", lambda *_: (torch.ones(K, D), torch.ones(K)))
    with pytest.raises(ModelError, match="does not reproduce the logits of node 'head'") as refused:
        run(build(*gemm()))
    assert "layer=" not in str(refused.value)


@pytest.mark.parametrize("tail", ["Softmax", "LogSoftmax", "Sigmoid", "Identity"])
def test_what_may_follow(tail):
    nodes, tensors = gemm("z")
    assert_reads(build([*nodes, helper.make_node(tail, ["z"], ["y"])], tensors))


def test_labels_and_a_zipmap_as_scikit_learn_exports_them():
    nodes, tensors = gemm("z")
    nodes += [
        helper.make_node("Softmax", ["z"], ["p"]),
        helper.make_node("ArgMax", ["p"], ["label"], axis=1, keepdims=0),
        helper.make_node(
            "ZipMap", ["p"], ["maps"], domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2]
        ),
    ]
    model = build(nodes, tensors)
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("label", TensorProto.INT64, ["n"]))
    probabilities = helper.make_map_type_proto(
        TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, None)
    )
    model.graph.output.append(
        helper.make_value_info("maps", helper.make_sequence_type_proto(probabilities))
    )
    assert_reads(model)


FACTORS = {"half": np.float32([0.5]), "three": np.array(3.0, np.float32)}


def test_a_temperature_is_part_of_the_layer():
    nodes, tensors = gemm("z")
    nodes += [
        helper.make_node("Div", ["z", "half"], ["z2"]),
        helper.make_node("Mul", ["three", "z2"], ["y"]),
    ]
    assert_reads(build(nodes, {**tensors, **FACTORS}), 6 * LOGITS, atol=1e-4)
    nodes.append(helper.make_node("Softmax", ["y"], ["p"]))
    assert_reads(build(nodes, {**tensors, **FACTORS}, output="p"), 6 * LOGITS, atol=1e-4)


def test_a_number_for_each_class_is_part_of_the_layer_too():
    nodes, tensors = gemm("z")
    nodes.append(helper.make_node("Mul", ["z", "each"], ["y"]))
    each = np.float32([1.0, -2.0, 3.0])
    assert_reads(build(nodes, {**tensors, "each": each}), LOGITS * each)


@pytest.mark.parametrize("mean", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_several_heads_are_one_layer_on_all_their_inputs(mean, bias):
    """Distilled models give the mean of two heads."""
    nodes = [
        helper.make_node("Tanh", ["h"], ["h2"]),
        helper.make_node("Gemm", ["h", "W", *(["b"] if bias else [])], ["z1"]),
        helper.make_node("MatMul", ["h2", "W2"], ["m"]),
        *([helper.make_node("Add", ["m", "b2"], ["z2"])] if bias else []),
        helper.make_node("Add", ["z1", "z2" if bias else "m"], ["sum" if mean else "y"]),
        *([helper.make_node("Mul", ["sum", "half"], ["y"])] if mean else []),
    ]
    model = build(nodes, {"W": HEAD, "b": BIAS, "W2": -2 * HEAD, "b2": 3 * BIAS, **FACTORS})
    adapter, output = run(model)
    expected = HIDDEN @ HEAD - 2 * np.tanh(HIDDEN) @ HEAD + (4 * BIAS if bias else 0)
    expected = expected / 2 if mean else expected
    np.testing.assert_allclose(output.logits, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(output.embedding, np.hstack([HIDDEN, np.tanh(HIDDEN)]), rtol=1e-5)
    assert adapter.weight.shape == (K, 2 * D)


def test_multiplied_probabilities_are_refused():
    nodes, tensors = gemm("z")
    nodes.append(helper.make_node("Softmax", ["z"], ["p"]))
    nodes.append(helper.make_node("Mul", ["p", "half"], ["y"]))
    with pytest.raises(ModelError, match=r"node 'p' \(Softmax\) is multiplied"):
        run(build(nodes, {**tensors, **FACTORS}))


@pytest.mark.parametrize("pixels", [1, 3])
@pytest.mark.parametrize("flatten", ["Flatten", "Squeeze"])
def test_a_convolution_of_one_pixel_is_a_linear_layer(pixels, flatten):
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(N, D, pixels, pixels)).astype(np.float32)
    weight = np.ascontiguousarray(HEAD.T[:, :, None, None])
    nodes = [
        helper.make_node("Relu", ["m"], ["h"]),
        helper.make_node("Conv", ["h", "W", "b"], ["c"], name="head", kernel_shape=[1, 1]),
        *([helper.make_node("GlobalAveragePool", ["c"], ["g"])] if pixels > 1 else []),
    ]
    tail = ["g" if pixels > 1 else "c", *(["axes"] if flatten == "Squeeze" else [])]
    nodes.append(helper.make_node(flatten, tail, ["y"]))
    constants = {"W": weight, "b": BIAS, "axes": np.array([2, 3])}
    graph = helper.make_graph(
        nodes,
        "convolutional",
        [helper.make_tensor_value_info("m", TensorProto.FLOAT, ["n", D, pixels, pixels])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", K])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    adapter, output = run(model, maps)
    hidden = np.maximum(maps, 0).mean(axis=(2, 3))
    np.testing.assert_allclose(output.embedding, hidden, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(output.logits, hidden @ HEAD + BIAS, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(adapter.weight, HEAD.T)


def test_other_convolutions_and_poolings_are_refused():
    nodes, tensors = gemm("z")
    nodes += [
        helper.make_node("Unsqueeze", ["z", "axes"], ["z4"]),
        helper.make_node("GlobalAveragePool", ["z4"], ["y"], name="pool"),
    ]
    model = build(nodes, {**tensors, "axes": np.array([2, 3])}, output_shape=["n", K, 1, 1])
    with pytest.raises(ModelError, match=r"node 'pool' \(GlobalAveragePool\) stands where"):
        run(model)
    nodes = [
        helper.make_node("Unsqueeze", ["h", "axes"], ["h4"]),
        helper.make_node(
            "Conv", ["h4", "W"], ["y"], name="wide", pads=[1] * 4, kernel_shape=[3, 3]
        ),
    ]
    weight = np.ones((D, 1, 1, 1), np.float32)
    model = build(nodes, {"W": weight, "axes": np.array([2, 3])}, output_shape=["n", D, 1, 1])
    with pytest.raises(ModelError, match=r"node 'wide' \(Conv\) is no 1x1 convolution"):
        run(model)


def test_half_precision():
    nodes, tensors = gemm()
    assert_reads(build(nodes, tensors, dtype=TensorProto.FLOAT16), rtol=2e-2, atol=2e-2)


def test_double_precision():
    nodes, tensors = gemm()
    assert_reads(build(nodes, tensors, dtype=TensorProto.DOUBLE))


def test_a_tensor_of_bfloat16_is_taken():
    half = torch.tensor(X).bfloat16()
    expected = run(build(*gemm()), half.float())[1].logits
    torch.testing.assert_close(run(build(*gemm()), half)[1].logits, expected)


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_a_fixed_batch_is_filled_up(batch):
    nodes, tensors = gemm()
    adapter, output = run(build(nodes, tensors, batch=batch))
    assert adapter.batch_size == batch
    np.testing.assert_allclose(output.logits, LOGITS, rtol=1e-4, atol=1e-5)


def test_a_token_picked_after_the_layer():
    """Decoders compute the logits of all tokens and gather one of them."""
    tokens = RNG.normal(size=(N, 6, D)).astype(np.float32)
    position = np.array([[i, i % 6] for i in range(N)])
    nodes = [
        helper.make_node("MatMul", ["t", "W"], ["m"]),
        helper.make_node("Add", ["m", "b"], ["all"]),
        helper.make_node("GatherND", ["all", "position"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "decoder",
        [
            helper.make_tensor_value_info("t", TensorProto.FLOAT, ["n", 6, D]),
            helper.make_tensor_value_info("position", TensorProto.INT64, ["n", 2]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", K])],
        [numpy_helper.from_array(HEAD, "W"), numpy_helper.from_array(BIAS, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    _, output = run(model, {"t": tokens, "position": position})
    picked = tokens[np.arange(N), position[:, 1]]
    np.testing.assert_allclose(output.embedding, picked, rtol=1e-5)
    np.testing.assert_allclose(output.logits, picked @ HEAD + BIAS, rtol=1e-4, atol=1e-5)


class TestUnusable:
    def test_the_node_in_the_way_is_named(self):
        nodes, tensors = gemm("z")
        nodes.append(helper.make_node("Tanh", ["z"], ["y"], name="squash"))
        with pytest.raises(ModelError, match=r"node 'squash' \(Tanh\) stands where a Gemm"):
            run(build(nodes, tensors))

    def test_a_computed_weight(self):
        nodes = [
            helper.make_node("ReduceMean", ["h"], ["mean"], axes=[0]),
            helper.make_node("Mul", ["W0", "mean"], ["W"]),
            helper.make_node("Gemm", ["h", "W"], ["y"], name="head", transB=1),
        ]
        with pytest.raises(ModelError, match=r"weight or bias of node 'head' \(Gemm\) is computed"):
            run(build(nodes, {"W0": HEAD.T.copy()}))

    def test_a_sum_of_two_branches(self):
        nodes = [
            helper.make_node("MatMul", ["h", "W"], ["m"]),
            helper.make_node("Tanh", ["m"], ["t"]),
            helper.make_node("Add", ["m", "t"], ["y"], name="residual"),
        ]
        with pytest.raises(ModelError, match=r"'residual'.* does not add a constant bias"):
            run(build(nodes, {"W": HEAD}))

    def test_an_output_that_is_the_input(self):
        model = build(*gemm())
        del model.graph.output[:]
        model.graph.output.append(
            helper.make_tensor_value_info("copy", TensorProto.FLOAT, ["n", D_IN])
        )
        model.graph.node.append(helper.make_node("Identity", ["x"], ["copy"]))
        with pytest.raises(ModelError, match="output 'copy': it is an input"):
            run(model)

    def test_logits_of_every_token(self):
        nodes = [
            helper.make_node("Reshape", ["h", "three"], ["h3"]),
            helper.make_node("MatMul", ["h3", "W"], ["y"], name="tokens"),
        ]
        tensors = {"W": HEAD, "three": np.array([N, 1, D])}
        with pytest.raises(ModelError, match=r"'tokens' \(MatMul\) gives logits of shape"):
            run(build(nodes, tensors, output_shape=[N, 1, K]))

    def test_a_device_that_is_not_there(self):
        with pytest.raises(ParameterError, match="device 'tpu' cannot run ONNX"):
            run(build(*gemm()), device="tpu")


class TestSamples:
    def test_a_list_of_rows_or_mappings(self):
        model = build(*gemm())
        for samples in (list(X), [{"x": row} for row in X], {"x": X}, torch.tensor(X)):
            np.testing.assert_allclose(run(model, samples)[1].logits, LOGITS, rtol=1e-4, atol=1e-5)

    def test_missing_inputs_and_wrong_shapes(self):
        model = build(*gemm())
        with pytest.raises(DataError, match="lack the ONNX model's input 'x'; they have 'other'"):
            run(model, {"other": X})
        with pytest.raises(DataError, match=r"takes shape \('n', 4\); samples have \('n', 5\)"):
            run(model, np.zeros((3, 5)))


class TestFiles:
    def test_path_bytes_and_proto_are_the_same(self, tmp_path):
        model = build(*gemm())
        path = tmp_path / "model.onnx"
        onnx.save(model, path)
        expected = run(model)[1].logits
        for source in (path, str(path), path.read_bytes()):
            assert torch.equal(run(source)[1].logits, expected)

    def test_the_proto_of_the_caller_is_left_alone(self):
        model = build(*gemm())
        before = model.SerializeToString()
        run(model)
        assert model.SerializeToString() == before

    def test_no_file(self, tmp_path):
        with pytest.raises(ModelError, match="cannot be read: No such file"):
            run(tmp_path / "missing.onnx")

    def test_external_data_beside_the_model(self, tmp_path):
        path = tmp_path / "model.onnx"
        onnx.save(
            build(*gemm()), path, save_as_external_data=True, location="weights", size_threshold=0
        )
        np.testing.assert_allclose(run(path)[1].logits, LOGITS, rtol=1e-4, atol=1e-5)
        with pytest.raises(ModelError, match="give the model by its path"):
            run(path.read_bytes())
        (tmp_path / "weights").unlink()
        with pytest.raises(ModelError, match=r"external data 'weights' .* is missing"):
            run(path)

    @pytest.mark.parametrize(
        "trick", ["../secret", "/etc/hostname", "link", "deep/../../secret", ""]
    )
    @pytest.mark.parametrize("place", ["initializer", "attribute", "subgraph"])
    def test_external_data_elsewhere_is_refused(self, tmp_path, trick, place):
        (tmp_path / "secret").write_bytes(HEAD.tobytes())
        folder = tmp_path / "model"
        (folder / "deep").mkdir(parents=True)
        (folder / "link").symlink_to(tmp_path / "secret")
        stolen = numpy_helper.from_array(HEAD, "stolen")
        stolen.ClearField("raw_data")
        stolen.data_location = TensorProto.EXTERNAL
        stolen.external_data.add(key="location", value=trick)
        model = build(*gemm())
        if place == "initializer":
            model.graph.initializer.append(stolen)
        elif place == "attribute":
            model.graph.node.append(helper.make_node("Constant", [], ["c"], value=stolen))
        else:
            inner = helper.make_graph([], "inner", [], [], [stolen])
            model.graph.node.append(
                helper.make_node("If", ["x"], ["c"], then_branch=inner, else_branch=inner)
            )
        path = folder / "model.onnx"
        path.write_bytes(model.SerializeToString())
        with pytest.raises(ModelError, match="points outside the model's folder"):
            run(path)

    @settings(max_examples=60)
    @given(st.data())
    def test_a_file_cut_short_is_an_error(self, data):
        content = build(*gemm()).SerializeToString()
        cut = data.draw(st.integers(0, len(content) - 1))
        try:
            _, output = run(content[:cut])
        except ModelError:
            return
        # Only what the model does not need was lost: the operator set of ZipMap, at the very end.
        assert cut > 0.9 * len(content)
        np.testing.assert_allclose(output.logits, LOGITS, rtol=1e-4, atol=1e-5)

    @settings(max_examples=150)
    @given(st.data())
    def test_a_damaged_file_works_or_is_an_error_of_ours(self, data):
        classifier = scikit_learn(
            "LinearClassifier",
            coefficients=[1.0] * 12,
            intercepts=[0.0] * 3,
            classlabels_ints=[0, 1, 2],
        )
        model = data.draw(st.sampled_from([build(*gemm()), classifier]))
        content = bytearray(model.SerializeToString())
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        try:
            _, output = run(bytes(content))
        except ActiveLearnError:
            return
        assert torch.isfinite(output.logits).all()

    def test_junk(self):
        for junk in (b"", b"\x00" * 64, b"not a model", os.urandom(256)):
            with pytest.raises(ModelError):
                run(junk)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_an_export_of_pytorch(tmp_path):
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(D_IN, D), nn.ReLU(), nn.Dropout(0.5), nn.Linear(D, K)).eval()
    path = tmp_path / "export.onnx"
    torch.onnx.export(
        module, (torch.tensor(X),), path, dynamo=False, dynamic_axes={"input": {0: "n"}},
        input_names=["input"],
    )  # fmt: skip
    _, output = run(path)
    expected = adapt(module)(X)
    torch.testing.assert_close(output.logits, expected.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output.embedding, expected.embedding, rtol=1e-4, atol=1e-5)
