"""Modules, callables, ONNX files and image classifiers hold the contract of models."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from model_contract import N_SAMPLES, Contract, ModuleContract
from onnx import TensorProto, helper, numpy_helper
from torch import nn

transformers = pytest.importorskip("transformers")


class TestTorchModule(ModuleContract):
    def build(self):
        torch.manual_seed(1)
        body = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Dropout(0.5))
        return nn.Sequential(body, nn.Sequential(nn.Dropout(0.5), nn.Linear(8, self.n_outputs)))

    def head(self, module):
        return module[1][1]

    def samples(self):
        return np.random.default_rng(0).normal(size=(N_SAMPLES, 3, 4))

    def expected(self, model, samples):
        model.eval()
        dtype = next(model.parameters()).dtype
        with torch.no_grad():
            rows = [model(torch.as_tensor(row[None]).to(dtype)).float() for row in samples]
        return torch.cat(rows).numpy()


class TestTorchRegressor(TestTorchModule):
    n_outputs = 2


class TestCallable(Contract):
    def weights(self):
        return np.random.default_rng(1).normal(size=(self.n_outputs, 4)).astype(np.float32)

    def build(self):
        weight = self.weights()
        return lambda batch: (np.asarray(batch) @ weight.T, np.asarray(batch))

    def broken(self):
        return lambda batch: (np.full((len(batch), 3), np.nan), np.asarray(batch))

    def samples(self):
        return np.random.default_rng(0).normal(size=(N_SAMPLES, 4)).astype(np.float32)

    def expected(self, model, samples):
        return samples @ self.weights().T

    def test_head_reproduces_the_logits(self):
        """A plain callable has no head to show; that there is one is checked all the same."""
        adapter = self.adapt(self.build())
        adapter(self.samples())
        assert adapter.weight is None
        assert adapter.bias is None


class TestOnnx(Contract):
    def build(self):
        return self.graph(np.ones((self.n_outputs, 5), np.float32))

    def broken(self):
        return self.graph(np.full((self.n_outputs, 5), np.nan, np.float32))

    def graph(self, scale: np.ndarray) -> bytes:
        rng = np.random.default_rng(1)
        tensors = {
            "W1": rng.normal(size=(4, 5)).astype(np.float32),
            "W2": scale * rng.normal(size=(self.n_outputs, 5)).astype(np.float32),
            "b2": rng.normal(size=self.n_outputs).astype(np.float32),
        }
        nodes = [
            helper.make_node("MatMul", ["x", "W1"], ["h1"]),
            helper.make_node("Relu", ["h1"], ["h"]),
            helper.make_node("Gemm", ["h", "W2", "b2"], ["z"], transB=1, name="head"),
            helper.make_node("Softmax", ["z"], ["p"]),
        ]
        graph = helper.make_graph(
            nodes,
            "classifier",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
            [helper.make_tensor_value_info("p", TensorProto.FLOAT, ["n", self.n_outputs])],
            [numpy_helper.from_array(values, name) for name, values in tensors.items()],
        )
        opset = [helper.make_opsetid("", 17)]
        return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()

    def samples(self):
        return np.random.default_rng(0).normal(size=(N_SAMPLES, 4)).astype(np.float32)

    def expected(self, model, samples):
        tensors = {
            tensor.name: numpy_helper.to_array(tensor)
            for tensor in onnx.load_model_from_string(model).graph.initializer
        }
        hidden = np.maximum(samples @ tensors["W1"], 0)
        return hidden @ tensors["W2"].T + tensors["b2"]


class TestImageTransformer(ModuleContract):
    def build(self):
        torch.manual_seed(1)
        config = transformers.ViTConfig(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=24,
            image_size=16,
            patch_size=8,
            num_labels=self.n_outputs,
        )
        model = transformers.ViTForImageClassification(config)
        with torch.no_grad():
            model.classifier.weight.mul_(10.0)
        size = {"height": 16, "width": 16}
        return model, transformers.ViTImageProcessor(size=size)

    def module(self, model):
        return model[0]

    def head(self, module):
        return module.classifier

    def samples(self):
        return np.random.default_rng(0).integers(256, size=(N_SAMPLES, 20, 20, 3), dtype=np.uint8)

    def expected(self, model, samples):
        module, processor = model
        module.eval()
        dtype = next(module.parameters()).dtype
        rows = []
        for sample in samples:
            pixels = processor(images=sample, return_tensors="pt")["pixel_values"].to(dtype)
            with torch.no_grad():
                rows.append(module(pixel_values=pixels).logits.float())
        return torch.cat(rows).numpy()
