"""Particulars of ONNX models: forms of a last layer, fixed batches, damaged and hostile files."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from active_learn.errors import DataError, ModelError
from onnx import TensorProto, helper, numpy_helper
from onnx_graphs import (
    BIAS,
    HEAD,
    HEADS,
    HIDDEN,
    LOGITS,
    RNG,
    D,
    K,
    N,
    X,
    assert_reads,
    build,
    gemm,
    run,
)


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


@pytest.mark.parametrize("tail", ["Softmax", "LogSoftmax", "Sigmoid", "Identity"])
def test_what_may_follow(tail):
    nodes, tensors = gemm("z")
    assert_reads(build([*nodes, helper.make_node(tail, ["z"], ["y"])], tensors))


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
