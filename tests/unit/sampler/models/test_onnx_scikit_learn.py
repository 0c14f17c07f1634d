"""ONNX files that scikit-learn's exporters and others write around the last layer."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
import torch
from active_learn.errors import ModelError
from active_learn.models import onnx_model
from onnx import TensorProto, helper
from onnx_graphs import BIAS, BODY, HEAD, D, K, N, X, assert_reads, build, gemm, run, scikit_learn

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
