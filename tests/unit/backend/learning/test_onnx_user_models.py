"""ONNX and Torch files as models of a project, with a JSON file that describes them."""

from __future__ import annotations

import io
import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from active_learn.errors import ModelError
from active_learn_backend.errors import SettingsError
from active_learn_backend.learning.user_models.specification import Specification
from onnx import TensorProto, helper
from own_models import IMAGES, LABELS, TEXTS, answers, onnx_file, own, png, texts
from PIL import Image
from tiny_models import BERT, save_tokenizer
from torch import nn

DOCS = Path(__file__).parents[4] / "backend" / "docs"


def onnx_images(path: Path, shape: list[Any], kind: int = TensorProto.FLOAT) -> Path:
    """Flatten, a layer, ReLU, the last layer."""
    rng = np.random.default_rng(0)
    size = int(np.prod(shape[1:]))
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["f"], ["flat"]),
        helper.make_node("MatMul", ["flat", "W1"], ["h1"]),
        helper.make_node("Relu", ["h1"], ["h"]),
        helper.make_node("Gemm", ["h", "W2", "b"], ["z"], transB=1),
    ]
    return onnx_file(
        path,
        nodes,
        [helper.make_tensor_value_info("x", kind, shape)],
        W1=rng.normal(size=(size, 6)).astype(np.float32),
        W2=rng.normal(size=(3, 6)).astype(np.float32),
        b=rng.normal(size=3).astype(np.float32),
    )


def describe(path: Path, *inputs: dict[str, Any], **more: Any) -> Path:
    specification = {"labels": LABELS, "inputs": inputs, **more}
    path.with_name(path.name + ".json").write_text(json.dumps(specification))
    return path


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        (["n", 3, 8, 6], {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.3]}),
        (["n", 8, 6, 3], {"layout": "nhwc", "name": "x"}),
        (["n", 1, 8, 6], {"mode": "L", "scale": 1.0}),
        (["n", 8, 6], {"mode": "L", "layout": "nhw"}),
        ([4, 3, 8, 6], {}),
    ],
)
def test_an_onnx_image_classifier(
    tmp_path: Path, shape: list[Any], options: dict[str, Any]
) -> None:
    path = onnx_images(tmp_path / "model.onnx", shape)
    describe(path, {"kind": "image", "size": [8, 6], **options})
    logits, _ = answers(own(tmp_path, path, IMAGES), [{"image": str(at)} for at in range(5)])
    assert np.abs(logits[0] - logits[1]).max() > 1e-3
    for row, at in zip(logits, range(5), strict=True):
        image = Image.open(io.BytesIO(png(at))).convert(options.get("mode", "RGB"))
        x = np.asarray(image.resize((6, 8), Image.Resampling.BILINEAR), np.float32)
        x = x.reshape(8, 6, -1) * options.get("scale", 1 / 255)
        x = (x - options.get("mean", 0.0)) / options.get("std", 1.0)
        if options.get("layout", "nchw") == "nchw":
            x = x.transpose(2, 0, 1)
        rng = np.random.default_rng(0)
        weights = [rng.normal(size=s).astype(np.float32) for s in ((x.size, 6), (3, 6), (3,))]
        hidden = np.maximum(x.ravel() @ weights[0], 0)
        np.testing.assert_allclose(row, hidden @ weights[1].T + weights[2], rtol=1e-3, atol=1e-3)


def test_whole_numbers_for_pixels(tmp_path: Path) -> None:
    path = onnx_images(tmp_path / "m.onnx", ["n", 8, 6, 3], TensorProto.UINT8)
    image = {"kind": "image", "size": [8, 6], "layout": "nhwc", "dtype": "uint8"}
    model = own(tmp_path, describe(path, image), IMAGES)
    assert model.encode([{"image": "1"}])[0].shape == (1, 6 + 2 * 3)


def onnx_tokens(path: Path, masked: bool = True) -> Path:
    """Mean of the embeddings of tokens, over the mask; then the last layer."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Gather", ["E", "input_ids"], ["e"]),
        helper.make_node("Cast", ["attention_mask" if masked else "input_ids"], ["f"], to=1),
        helper.make_node("Unsqueeze", ["f", "last"], ["m"]),
        helper.make_node("Mul", ["e", "m"], ["em"]),
        helper.make_node("ReduceSum", ["em", "second"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["m", "second"], ["count"], keepdims=0),
        helper.make_node("Div", ["sum", "count"], ["h"]),
        helper.make_node("Gemm", ["h", "W", "b"], ["z"]),
    ]
    names = ["input_ids", "attention_mask"][: 1 + masked]
    return onnx_file(
        path,
        nodes,
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "t"]) for name in names],
        E=rng.normal(size=(BERT["vocab_size"], 5)).astype(np.float32),
        W=rng.normal(size=(5, 3)).astype(np.float32),
        b=rng.normal(size=3).astype(np.float32),
        last=np.array([2]),
        second=np.array([1]),
    )


def test_an_onnx_text_classifier(tmp_path: Path) -> None:
    path = onnx_tokens(tmp_path / "model.onnx")
    tokenizer = save_tokenizer(tmp_path / "tokenizer")
    describe(path, {"kind": "tokens", "tokenizer": "tokenizer", "max_length": 6})
    logits, _ = answers(own(tmp_path, path), texts())
    rng = np.random.default_rng(0)
    table, weight = rng.normal(size=(BERT["vocab_size"], 5)), rng.normal(size=(5, 3))
    bias = rng.normal(size=3)
    for row, text in zip(logits, TEXTS, strict=True):
        ids = tokenizer(text, truncation=True, max_length=6)["input_ids"]
        np.testing.assert_allclose(row, table[ids].mean(axis=0) @ weight + bias, atol=1e-4)


def test_tokens_need_a_mask_or_one_length(tmp_path: Path) -> None:
    path = onnx_tokens(tmp_path / "model.onnx", masked=False)
    save_tokenizer(tmp_path / "tokenizer")
    tokens = {"kind": "tokens", "tokenizer": "tokenizer"}
    with pytest.raises(SettingsError, match="no attention_mask"):
        own(tmp_path, describe(path, tokens))
    model = own(tmp_path, describe(path, {**tokens, "length": 8}))
    assert model.encode(texts())[0].shape == (5, 11)


def test_an_onnx_model_of_strings(tmp_path: Path) -> None:
    """One-hot of whole strings, by ONNX Runtime's own operator."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node(
            "TfIdfVectorizer",
            ["x"],
            ["h"],
            mode="TF",
            min_gram_length=1,
            max_gram_length=1,
            max_skip_count=0,
            ngram_counts=[0],
            ngram_indexes=list(range(5)),
            pool_strings=TEXTS,
        ),
        helper.make_node("Gemm", ["h", "W", "b"], ["z"]),
    ]
    strings = [helper.make_tensor_value_info("x", TensorProto.STRING, ["n", 1])]
    weight, bias = rng.normal(size=(5, 3)), rng.normal(size=3)
    path = onnx_file(
        tmp_path / "m.onnx", nodes, strings, W=weight.astype("f4"), b=bias.astype("f4")
    )
    logits, _ = answers(own(tmp_path, describe(path, {"kind": "text"})), texts())
    np.testing.assert_allclose(logits, weight + bias, atol=1e-4)


class SmallText(nn.Module):
    """Mean of embeddings, and the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(BERT["vocab_size"], 8), nn.Linear(8, 3)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        mask = attention_mask.unsqueeze(-1).float()
        return self.head((self.table(input_ids) * mask).sum(1) / mask.sum(1))


@pytest.mark.parametrize("name", ["model.pt", "model.torchscript", "model.pt2"])
def test_a_torchscript_or_exported_file(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    module, path = SmallText().eval(), tmp_path / name
    if name.endswith("pt2"):
        ids = torch.ones(2, 5, dtype=torch.long)
        n, t = torch.export.Dim("n"), torch.export.Dim("t")
        shapes = ({0: n, 1: t}, {0: n, 1: t})
        program = torch.export.export(module, (ids, ids.clone()), dynamic_shapes=shapes)
        torch.export.save(program, path)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated
            torch.jit.save(torch.jit.script(module), path)
    tokenizer = save_tokenizer(tmp_path / "tokenizer")
    describe(path, {"kind": "tokens", "tokenizer": "tokenizer"})
    logits, _ = answers(own(tmp_path, path), texts())
    for row, text in zip(logits, TEXTS, strict=True):
        encoded = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            expected = module(encoded["input_ids"], encoded["attention_mask"])[0]
        np.testing.assert_allclose(row, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("specification", "message"),
    [
        ("{", r"'m.onnx.json' is wrong: the file: Invalid JSON"),
        ('{"inputs": []}', r"wrong: inputs"),
        ('{"inputs": [{"kind": "sound"}]}', r"wrong: inputs.0"),
        ('{"inputs": [{"kind": "image"}]}', r"inputs.0.image.size is missing"),
        ('{"inputs": [{"kind": "image", "size": [8, 0]}]}', r"inputs.0.image.size.1"),
        (
            '{"inputs": [{"kind": "image", "size": [8, 6], "sise": 1}]}',
            r"inputs.0.image.sise is no field",
        ),
        ('{"inputs": [{"kind": "image", "size": [8, 6], "std": [0]}]}', r"inputs.0.image.std"),
        ('{"inputs": [{"kind": "image", "size": [8, 6], "mean": [1, 2]}]}', "one number, or 3"),
        ('{"inputs": [{"kind": "image", "size": [8, 6], "layout": "nhw"}]}', "set mode L"),
        ('{"inputs": [{"kind": "image", "size": [8, 6], "name": "y"}]}', "takes x, .* gives y"),
        ('{"inputs": [{"kind": "image", "size": [9, 6]}]}', "takes shape"),
        ('{"inputs": [{"kind": "image", "size": [8, 6]}]}', "3 outputs and 0 classes"),
        ('{"inputs": [{"kind": "tokens", "tokenizer": "t"}]}', "no folder beside it"),
        ('{"inputs": [{"kind": "tokens", "tokenizer": "../t"}]}', "no folder beside it"),
        ('{"inputs": [{"kind": "text"}]}', "shows no further text"),
    ],
)
def test_a_wrong_description_says_what_and_where(
    tmp_path: Path, specification: str, message: str
) -> None:
    path = onnx_images(tmp_path / "m.onnx", ["n", 3, 8, 6])
    path.with_name("m.onnx.json").write_text(specification)
    with pytest.raises(SettingsError, match=message) as caught:
        own(tmp_path, path, IMAGES)
    assert "\n" not in str(caught.value)


def test_missing_files_and_other_kinds(tmp_path: Path) -> None:
    path = onnx_images(tmp_path / "m.onnx", ["n", 3, 8, 6])
    with pytest.raises(SettingsError, match=r"there has to be 'm.onnx.json'"):
        own(tmp_path, path, IMAGES)
    with pytest.raises(SettingsError, match=r"no file or folder"):
        own(tmp_path, tmp_path / "absent.onnx", IMAGES)
    with pytest.raises(SettingsError, match=r"nothing below MODEL_DIR/models"):
        own(tmp_path, "absent.onnx", IMAGES)
    describe(path, {"kind": "image", "size": [8, 6]})
    path.write_bytes(path.read_bytes()[:90])
    with pytest.raises(SettingsError, match=r"m.onnx' cannot be used: "):
        own(tmp_path, path, IMAGES)
    torch.save({}, tmp_path / "weights.bin")
    with pytest.raises(SettingsError, match=r"no known kind; expected one of .onnx"):
        own(tmp_path, tmp_path / "weights.bin", IMAGES)


def test_a_model_without_a_linear_end_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("ReduceMean", ["x"], ["z"], axes=[2, 3], keepdims=0)]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 6])]
    path = describe(
        onnx_file(tmp_path / "m.onnx", nodes, inputs), {"kind": "image", "size": [8, 6]}
    )
    with pytest.raises(SettingsError, match="cannot be used: no usable last linear layer"):
        own(tmp_path, path, IMAGES)


def test_the_json_of_the_documentation() -> None:
    page = DOCS / "encoders-and-models.md"
    described = re.findall(r"```json\n(.*?)```", page.read_text(), re.DOTALL)
    classifier, detector = map(Specification.model_validate_json, described)
    assert classifier.labels == detector.labels == ["cat", "dog"]
    assert classifier.regions is None
    assert detector.regions is not None
    assert detector.regions.kind == "yolo"


def test_embeddings_beyond_float16_are_refused_and_never_infinite(tmp_path: Path) -> None:
    module, path = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.Linear(4, 3)), tmp_path / "m.pt"
    with torch.no_grad():
        module[1].weight.copy_(torch.eye(4) * 1e6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(module), path)
    describe(path, {"kind": "image", "size": [2, 2], "mode": "L"})
    found = own(tmp_path, path, IMAGES)
    with pytest.raises(ModelError, match="MODEL_USE=encoder"):
        found.encode([{"image": "1"}, {"image": "2"}])
    vectors, failed = own(tmp_path, path, IMAGES, model_use="encoder").encode([{"image": "1"}])
    assert not failed
    assert np.isfinite(vectors.astype(np.float16)).all()


@pytest.mark.parametrize("change", ["weights", "specification", "nothing"])
def test_the_fingerprint_follows_the_files(tmp_path: Path, change: str) -> None:
    path = onnx_images(tmp_path / "m.onnx", ["n", 3, 8, 6])
    image = {"kind": "image", "size": [8, 6]}
    first = own(tmp_path, describe(path, image), IMAGES).fingerprint
    if change == "weights":
        path.write_bytes(path.read_bytes().replace(b"classifier", b"classifies"))
    if change == "specification":
        describe(path, {**image, "scale": 0.5})
    assert (own(tmp_path, path, IMAGES).fingerprint == first) == (change == "nothing")
