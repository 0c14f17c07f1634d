"""TorchScript and torch.export, from memory and from files: the contract, and what is refused."""

from __future__ import annotations

import io
import json
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from active_learn.errors import ModelError
from active_learn.models import adapt
from test_models import N_SAMPLES, Contract
from torch import nn


class Classifier(nn.Module):
    """Two layers over every token, of which the last token counts."""

    def __init__(self, n_outputs: int = 3, bias: bool = True) -> None:
        super().__init__()
        self.body = nn.Linear(4, 8)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, n_outputs, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.softmax(self.head(self.drop(torch.relu(self.body(x))))[:, -1], dim=-1)

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(self.body(x)))[:, -1]


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


def export(module: nn.Module) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch")
    inputs = (torch.zeros(2, 3, 4),)
    return torch.export.export(module.eval(), inputs, dynamic_shapes=({0: batch},))


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


# -- hostile and damaged files --------------------------------------------------------------------


@pytest.fixture
def program_file(tmp_path: Path) -> Path:
    path = tmp_path / "model.pt2"
    torch.manual_seed(0)
    torch.export.save(export(Classifier()), path)
    return path


def rewrite(path: Path, change: Callable[[str, bytes], bytes], **added: bytes) -> Path:
    """Write an archive anew with its parts changed, and others added."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    root = next(iter(parts)).partition("/")[0]
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, change(name.partition("/")[2], content))
        for name, content in added.items():
            archive.writestr(f"{root}/{name}", content)
    return path


def in_program(old: str, new: str) -> Callable[[str, bytes], bytes]:
    def change(name: str, content: bytes) -> bytes:
        if name != "models/model.json":
            return content
        assert old.encode() in content
        return content.replace(old.encode(), new.encode())

    return change


class Bomb:
    """Leaves a trace when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def test_rewriting_alone_is_not_refused(program_file: Path) -> None:
    output = adapt(rewrite(program_file, lambda _, content: content))(torch.zeros(2, 3, 4))
    assert output.logits.shape == (2, 3)


def test_example_inputs_are_never_unpickled(program_file: Path, tmp_path: Path) -> None:
    buffer, trace = io.BytesIO(), tmp_path / "trace"
    torch.save(((Bomb(trace),), {}), buffer)
    hostile = rewrite(
        program_file, lambda name, c: buffer.getvalue() if name.endswith("inputs/model.pt") else c
    )
    with pytest.raises(ModelError, match="pickled objects"):
        adapt(hostile)
    assert not trace.exists()
    with pytest.raises(ModelError):  # what torch itself does with the same file
        adapt(hostile)


def test_pickled_weights_and_constants_are_refused(program_file: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"

    def pickled(name: str, content: bytes) -> bytes:
        if not name.endswith("weights_config.json"):
            return content
        return content.replace(b'"use_pickle": false', b'"use_pickle": true')

    hostile = program_file.with_name("weights.pt2")
    hostile.write_bytes(program_file.read_bytes())
    with pytest.raises(ModelError, match="pickled tensors"):
        adapt(rewrite(hostile, pickled))
    opaque = {"data/constants/opaque_obj_0": pickle.dumps(Bomb(trace))}
    with pytest.raises(ModelError, match="opaque_obj_0"):
        adapt(rewrite(program_file, lambda _, content: content, **opaque))
    assert not trace.exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("torch.ops.aten.relu.default", "torch.hub.load"),
        ("torch.ops.aten.relu.default", "torch.ops.aten.from_file.default"),
        ("Symbol('s", "exec(chr(49))+Symbol('s"),
        ("Symbol('s", "().__class__+Symbol('s"),
        ('"name": "x"', '"name": "x=print(1)"'),
        ("builtins.tuple", "collections.defaultdict"),
    ],
)
def test_what_torch_would_run_or_import_is_refused(program_file: Path, old: str, new: str) -> None:
    with pytest.raises(ModelError, match=r"model\.pt2 is refused"):
        adapt(rewrite(program_file, in_program(old, new)))


def test_guards_are_not_run(program_file: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"

    def with_guard(name: str, content: bytes) -> bytes:
        if name != "models/model.json":
            return content
        program = json.loads(content)
        program["guards_code"] = [f"__import__('pathlib').Path({str(trace)!r}).touch() or True"]
        return json.dumps(program).encode()

    adapt(rewrite(program_file, with_guard))(torch.zeros(2, 3, 4))
    assert not trace.exists()


@pytest.mark.parametrize("name", ["model.pt", "model.ts", "model.torchscript", "model.pt2"])
def test_damaged_and_foreign_files(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with pytest.raises(ModelError, match=name):
        adapt(path)
    torch.save({"weight": torch.zeros(3)}, path)
    whole = path.read_bytes()
    for content in (b"", b"no archive", whole, whole[:100]):
        path.write_bytes(content)
        with pytest.raises(ModelError, match=f"{name} is .*(jit|export).save"):
            adapt(path)
