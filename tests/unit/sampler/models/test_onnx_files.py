"""ONNX files as they lie on a disk: quantized, external, damaged, unusable."""

from __future__ import annotations

import os

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from active_learn.errors import ActiveLearnError, ModelError, ParameterError
from active_learn.models import adapt
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnx_graphs import (
    D_IN,
    HEAD,
    HEADS,
    HIDDEN,
    LOGITS,
    D,
    K,
    N,
    X,
    assert_reads,
    build,
    gemm,
    run,
    scikit_learn,
)
from onnxruntime import quantization
from onnxruntime.quantization import QuantType
from torch import nn


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
