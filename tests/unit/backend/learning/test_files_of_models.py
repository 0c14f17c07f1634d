"""Copies of own models: whole, loadable by themselves, and with the same digest."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from active_learn_backend.errors import SettingsError
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.learning.user_models import OwnModel, load_own_model
from active_learn_backend.learning.user_models.model_files import (
    copy_model,
    digest_of_model,
    find_model,
)
from active_learn_backend.settings import Settings
from onnx import TensorProto, helper, numpy_helper
from tiny_models import save_bert, save_pattern_model, save_tokenizer

TASK = parse_label_config(
    '<View><Text name="t" value="$text"/><Choices name="c" toName="t">'
    '<Choice value="a"/><Choice value="b"/></Choices></View>'
)


def load(path: Path) -> OwnModel:
    settings = Settings(model=str(path), device="cpu", model_dir=path.parent)
    return load_own_model(settings, TASK, lambda address: b"")


def hugging_face(folder: Path) -> Path:
    ids: Any = {"id2label": {0: "a", 1: "b"}, "label2id": {"a": 0, "b": 1}}
    path = save_bert(folder / "bert", "BertForSequenceClassification", **ids)
    (path / "optimizer.pt").write_bytes(b"what a training leaves")
    # The hub's cache consists of links.
    (path / "model.safetensors").rename(folder / "blob")
    (path / "model.safetensors").symlink_to("../blob")
    return path


def onnx_of_tokens(folder: Path) -> Path:
    """Return an ONNX file beside which its tokenizer and its weights lie."""
    path = folder / "tokens.onnx"
    table = numpy_helper.from_array(np.eye(16, dtype=np.float32), "table")
    weights = numpy_helper.from_array(np.ones((16, 2), np.float32), "weights")
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["found"]),
            helper.make_node("ReduceMean", ["found"], ["mean"], axes=[1], keepdims=0),
            helper.make_node("MatMul", ["mean", "weights"], ["logits"]),
        ],
        "tokens",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["n", "length"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])],
        [table, weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path, save_as_external_data=True, location="tokens.weights", size_threshold=0)
    save_tokenizer(folder / "tokenizer")
    inputs = [{"kind": "tokens", "tokenizer": "tokenizer", "length": 8}]
    description = {"labels": ["a", "b"], "inputs": inputs}
    path.with_name("tokens.onnx.json").write_text(json.dumps(description))
    return path


@pytest.mark.parametrize("make", [hugging_face, onnx_of_tokens])
def test_a_copy_is_the_same_model(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    (tmp_path / "made").mkdir()
    path = make(tmp_path / "made")
    copy = copy_model(path, tmp_path / "copy")
    assert digest_of_model(copy) == digest_of_model(path) == load(copy).digest
    assert find_model(tmp_path / "copy") == copy
    assert not list((tmp_path / "copy").rglob("optimizer.pt"))
    (tmp_path / "made").rename(tmp_path / "gone")
    assert load(copy).head() is not None


def test_a_model_that_reads_what_lies_elsewhere_is_not_copied(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    path = onnx_of_tokens(tmp_path / "made")
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        tensor.external_data[0].value = "../secret"
    path.write_bytes(model.SerializeToString())
    (tmp_path / "secret").write_bytes(b"")
    with pytest.raises(SettingsError, match="'secret', which does not lie beside it"):
        copy_model(path, tmp_path / "copy")


def test_of_several_models_none_is_taken(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_pattern_model(tmp_path / f"{name}.onnx", "x", ("a", "b"))
    with pytest.raises(SettingsError, match=r"found a\.onnx, b\.onnx"):
        find_model(tmp_path)
