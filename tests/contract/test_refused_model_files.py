"""No model file runs what it should not: what is refused, and what is not."""

from __future__ import annotations

import io
import json
import pickle
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from active_learn.errors import ModelError
from active_learn.models import adapt
from compiled_models import Classifier, export
from torch import nn

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
        ("torch.ops.aten.relu.default", "torch.ops.aten.save.default"),
        ("torch.ops.aten.relu.default", "torch.ops.aten.save"),
        ("torch.ops.aten.relu.default", "torch.ops.aten.no_such_operator.default"),
        ("torch.ops.aten.relu.default", "torch.ops.c10d.broadcast_.default"),
        ("torch.ops.aten.relu.default", "torch.ops.higher_order.map"),
        ("torch.ops.aten.relu.default", "math.__loader__"),
        ("torch.ops.aten.relu.default", "torch.sym_fresh_size"),
        ("Symbol('s", "exec(chr(49))+Symbol('s"),
        ("Symbol('s", "().__class__+Symbol('s"),
        ('"name": "x"', '"name": "x=print(1)"'),
        ("builtins.tuple", "collections.defaultdict"),
    ],
)
def test_what_torch_would_run_or_import_is_refused(program_file: Path, old: str, new: str) -> None:
    with pytest.raises(ModelError, match=r"model\.pt2 is refused"):
        adapt(rewrite(program_file, in_program(old, new)))


# -- TorchScript ----------------------------------------------------------------------------------


class Plain(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def saved(module: nn.Module, path: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(module), path)
    return path


@pytest.fixture
def script_file(tmp_path: Path) -> Path:
    return saved(Plain(), tmp_path / "model.pt")


@pytest.mark.parametrize(
    ("code", "named"),
    [
        ('torch.save(x, "{trace}")', "aten::save"),
        ('torch . save ( x , "{trace}" )', "aten::save"),
        ('getattr(torch, "sa" "ve")(x, "{trace}")', "aten::save"),
        ('ops.aten.save(x, "{trace}")', "aten::save"),
        ('if bool(x.any()):\n      torch.save(x, "{trace}")\n    else:\n      pass', "aten::save"),
        ('x = torch.from_file("{trace}", True, 10)', "aten::from_file"),
        ("torch.manual_seed(1)", "aten::manual_seed"),
        ('print("{trace}")', "prim::Print"),
        ("x = torch.quantize_per_tensor(x, 0.1, 0, 13)", "aten::quantize_per_tensor"),
    ],
)
def test_a_script_may_call_operators_that_only_compute(
    script_file: Path, tmp_path: Path, code: str, named: str
) -> None:
    trace = tmp_path / "trace"

    def inject(name: str, content: bytes) -> bytes:
        if not name.endswith(".py"):
            return content
        assert b"return x" in content
        return content.replace(b"return x", f"{code}\n    return x".format(trace=trace).encode())

    with pytest.raises(ModelError, match=rf"model\.pt is refused: it calls {named}, which is not"):
        adapt(rewrite(script_file, inject))(torch.zeros(2, 3))
    assert not trace.exists()


def test_what_a_script_runs_by_itself_is_refused(tmp_path: Path) -> None:
    trace = str(tmp_path / "trace")

    class Loaded(Plain):
        @torch.jit.export
        def __getstate__(self) -> str:
            return self.trace

        @torch.jit.export
        def __setstate__(self, state: str) -> None:
            torch.save([torch.zeros(1)], state)
            self.trace = state
            self.training = False

        def __init__(self) -> None:
            super().__init__()
            self.trace = trace

    def before(self, inputs: tuple[torch.Tensor]) -> None:
        torch.save(inputs[0], "trace")

    def after(self, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        torch.save(output, "trace")

    early, late = Plain(), nn.Sequential(Plain())
    early.register_forward_pre_hook(before)
    late[0].register_forward_hook(after)
    for module, named in (
        (Loaded(), "__setstate__"),
        (early, "__forward_pre_hooks__"),
        (late, "__forward_hooks__"),
    ):
        path = saved(module, tmp_path / "model.pt")
        with pytest.raises(ModelError, match=f"its {named} would run without being called"):
            adapt(path)
    assert not Path(trace).exists()


def test_objects_of_other_classes_and_doubled_parts_of_a_script_are_refused(
    script_file: Path,
) -> None:
    hostile = script_file.with_name("other.pt")
    hostile.write_bytes(script_file.read_bytes())
    foreign = {
        "code/__torch__/x.py": b"x : __torch__.torch.classes.quantized.Conv2dPackedParamsBase"
    }
    with pytest.raises(ModelError, match="a C\\+\\+ class of PyTorch"):
        adapt(rewrite(hostile, lambda _, content: content, **foreign))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile notices it too
        doubled = rewrite(script_file, lambda _, content: content, **{"data.pkl": b"."})
    with pytest.raises(ModelError, match="a part twice"):
        adapt(doubled)


class Usual(nn.Module):
    """Layers that models are made of, with control flow, lists, texts and context managers."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.embed, self.bag = nn.Embedding(10, 8), nn.EmbeddingBag(10, 16)
        self.convolve = nn.Sequential(nn.Conv1d(8, 8, 3, padding=1), nn.BatchNorm1d(8), nn.GELU())
        self.recur = nn.LSTM(8, 8, batch_first=True, bidirectional=True)
        self.attend = nn.MultiheadAttention(16, 2, batch_first=True)
        self.encode, self.norm = nn.TransformerEncoder(layer, 1), nn.LayerNorm(16)
        self.head = nn.Linear(16, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        hidden = self.convolve(self.embed(ids).transpose(1, 2)).transpose(1, 2)
        hidden, _ = self.recur(hidden)
        hidden, _ = self.attend(hidden, hidden, hidden)
        hidden = self.encode(self.norm(hidden))
        with torch.no_grad():
            mask = (ids > 0).float().unsqueeze(-1)
        parts = [part * 2 for part in hidden.chunk(2, dim=0)]
        if bool(torch.isnan(hidden).any()):
            raise ValueError(f"not finite: {hidden.shape}")
        pooled = (torch.cat(parts) * mask).sum(1) / mask.sum(1).clamp(min=1)
        return self.head(torch.relu_(pooled + self.bag(ids)))


@pytest.mark.parametrize("kind", ["scripted", "traced", "frozen", "exported", "decomposed"])
def test_usual_layers_are_not_refused(tmp_path: Path, kind: str) -> None:
    torch.manual_seed(0)
    module, ids = Usual().eval(), torch.randint(0, 10, (4, 5))
    expected = module(ids)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind in ("exported", "decomposed"):

            class Unconditional(Usual):
                def forward(self, ids: torch.Tensor) -> torch.Tensor:
                    hidden, _ = self.recur(self.embed(ids))
                    return self.head(self.encode(self.norm(hidden)).mean(1) + self.bag(ids))

            torch.manual_seed(0)
            module = Unconditional().eval()
            expected = module(ids)
            program = torch.export.export(module, (ids,))
            path = tmp_path / "model.pt2"
            torch.export.save(
                program.run_decompositions() if kind == "decomposed" else program, path
            )
        else:
            traced = (
                kind == "traced"
            )  # unchecked: attention has a path of its own without gradients
            script = (
                torch.jit.trace(module, ids, check_trace=False)
                if traced
                else torch.jit.script(module)
            )
            path = tmp_path / "model.pt"
            torch.jit.save(torch.jit.freeze(script) if kind == "frozen" else script, path)
        torch.testing.assert_close(adapt(path)(ids).logits, expected.detach())


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
