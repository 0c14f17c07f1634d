"""Files of TorchScript and torch.export hold one contract."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from active_learn.models import adapt
from compiled_models import Classifier, export
from model_contract import N_SAMPLES, Contract
from torch import nn


class FileContract(Contract):
    """What holds for every compiled kind; a subclass says how a module is compiled."""

    bias = True

    def compile(self, module: nn.Module) -> Any:
        raise NotImplementedError

    def module(self) -> Classifier:
        torch.manual_seed(1)
        return Classifier(self.n_outputs, self.bias)

    def build(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated
            return self.compile(self.module())

    def broken(self):
        module = self.module()
        with torch.no_grad():
            module.head.weight[0, 0] = float("nan")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return self.compile(module)

    def samples(self):
        return np.random.default_rng(0).normal(size=(N_SAMPLES, 3, 4)).astype(np.float32)

    def expected(self, model, samples):
        with torch.no_grad():
            return torch.cat([self.module().logits(torch.as_tensor(s[None])) for s in samples])

    def test_further_runs_give_the_same(self):
        """The interpreter of TorchScript runs another, optimized program from its third run on."""
        adapter = self.adapt(self.build(), batch_size=3)
        first = adapter(self.samples())
        for _ in range(4):
            again = adapter(self.samples())
            assert torch.equal(again.logits, first.logits)
            assert torch.equal(again.embedding, first.embedding)

    def test_the_output_takes_part_in_training(self):
        output = self.adapt(self.build())(self.samples())
        weight = torch.ones(output.embedding.shape[1], requires_grad=True)
        (output.embedding @ weight).sum().backward()
        assert weight.grad is not None


class TestScripted(FileContract):
    def compile(self, module):
        return torch.jit.script(module)

    def test_modes_are_restored(self):
        model = self.build().train()
        self.adapt(model)(self.samples())
        assert all(part.training for part in model.modules())


class TestScriptedWithoutBias(TestScripted):
    bias = False


class TestTraced(FileContract):
    def compile(self, module):
        return torch.jit.trace(module.eval(), torch.zeros(2, 3, 4))


class TestFrozen(FileContract):
    def compile(self, module):
        return torch.jit.freeze(torch.jit.script(module.eval()))


class TestOptimized(FileContract):
    """Its layers are products of matrices, to which the biases are added."""

    def compile(self, module):
        return torch.jit.optimize_for_inference(torch.jit.script(module.eval()))


class TestTorchScriptFile(FileContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path):
        self.folder = tmp_path

    def compile(self, module):
        torch.jit.save(torch.jit.script(module), self.folder / "model.pt")
        return self.folder / "model.pt"


class TestExportedFile(FileContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path):
        self.folder = tmp_path

    def compile(self, module):
        torch.export.save(export(module), self.folder / "model.pt2")
        return self.folder / "model.pt2"


class TestDecomposedProgram(FileContract):
    """Its layers are products of the rows of all samples and tokens."""

    def compile(self, module):
        return export(module).run_decompositions()


def test_a_script_of_several_inputs_with_a_product_for_a_head() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.weight = nn.Linear(5, 4), nn.Parameter(torch.randn(4, 3))
            self.bias = nn.Parameter(torch.randn(3))

        def forward(self, left: torch.Tensor, right: torch.Tensor, scale: float = 1.0):
            return self.bias + torch.relu(self.body(left - right)) * scale @ self.weight

    torch.manual_seed(0)
    module, left, right = Two(), torch.randn(6, 5), torch.randn(6, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        buffer = io.BytesIO()
        torch.jit.save(torch.jit.script(module), buffer)
        buffer.seek(0)
        adapter = adapt(torch.jit.load(buffer), batch_size=4)
    output = adapter((left, right, torch.zeros(6)))  # labels of a dataset are left out
    with torch.no_grad():
        torch.testing.assert_close(output.logits, module(left, right))
    assert torch.equal(adapter.bias, module.bias)
