"""The team's own model: every kind of it, its classes, and who may name it."""

from __future__ import annotations

import io
import json
import re
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from active_learn import ActiveSampler
from active_learn.errors import ModelError
from active_learn.heads import Head
from active_learn_backend.errors import ContentError, SettingsError
from active_learn_backend.labeling.config import LabelingTask, parse_label_config
from active_learn_backend.learning.embedding.embedder import TaskEmbedder
from active_learn_backend.learning.encoders.names import check_project_value
from active_learn_backend.learning.user_models import OwnModel, load_own_model
from active_learn_backend.learning.user_models.classes import labels_of_classes
from active_learn_backend.learning.user_models.specification import Specification
from active_learn_backend.learning.user_models.vectors import embedding_of, logits_of, pack
from active_learn_backend.settings import Settings
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from scipy.special import expit, softmax
from tiny_models import BERT, save_bert, save_tokenizer, save_vit
from torch import nn

DOCS = Path(__file__).parents[4] / "backend" / "docs"
LABELS = ("Card", "Rate", "Top up")
TEXTS = ["card lost", "why is my card lost", "exchange rate", "top up failed why", "my"]


def choices(*tags: str, choice: str = "single", objects: str = "") -> LabelingTask:
    shown = objects or '<Text name="t" value="$text"/>'
    return parse_label_config(
        f'<View>{shown}<Choices name="c" toName="t" choice="{choice}">{"".join(tags)}</Choices>'
        "</View>"
    )


def named(*labels: str) -> list[str]:
    return [f'<Choice value="{label}"/>' for label in labels]


def number(objects: str = "") -> LabelingTask:
    shown = objects or '<Text name="t" value="$text"/>'
    return parse_label_config(f'<View>{shown}<Number name="n" toName="t"/></View>')


CLASSES = choices(*named(*LABELS))
IMAGE = '<Image name="t" value="$image"/>'
IMAGES = choices(*named(*LABELS), objects=IMAGE)
PAIR = '<Text name="t" value="$text"/><Text name="u" value="$other"/>'
IDS = {"id2label": dict(enumerate(LABELS)), "label2id": {k: i for i, k in enumerate(LABELS)}}


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(256, size=(20, 30, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def load(address: str) -> bytes:
    if not address.isdigit():
        raise ContentError("it is gone")
    return png(int(address))


def settings_of(folder: Path, model: Path | str, **values: Any) -> Settings:
    return Settings(model_dir=folder / "data", device="cpu", model=str(model), **values)


def own(folder: Path, model: Path | str, task: LabelingTask = CLASSES, **values: Any) -> OwnModel:
    return load_own_model(settings_of(folder, model, **values), task, load)


def answers(model: OwnModel, contents: list[dict[str, Any]]) -> tuple[np.ndarray, list[Any]]:
    """Logits and answers by way of what the cache holds."""
    vectors, failed = model.encode(contents)
    assert not failed
    stored = vectors.astype(np.float16).astype(np.float32)
    head = model.head()
    assert head is not None
    logits, _ = head.sampler_model()(stored)
    return logits, head.predict(stored)


def texts(*fields: str) -> list[dict[str, Any]]:
    return [dict.fromkeys(fields or ("text",), text) for text in TEXTS]


# -- rows of the cache ----------------------------------------------------------------------------

numbers = st.floats(-(2.0**27) + 2**16, 2.0**27 - 2**16, width=32)


@given(npst.arrays(np.float32, (3, 2), elements=numbers))
def test_logits_keep_22_bits_in_float16(logits: np.ndarray) -> None:
    rows = pack(np.ones((3, 4), np.float32), logits).astype(np.float16).astype(np.float32)
    assert np.isfinite(rows).all()
    np.testing.assert_allclose(logits_of(rows, 2), logits, rtol=2**-20, atol=2e-6)
    assert np.array_equal(embedding_of(rows, 2), np.ones((3, 4)))


def test_what_float16_cannot_hold_is_refused() -> None:
    good = np.ones((1, 2), np.float32)
    with pytest.raises(ModelError, match=r"MODEL_USE=encoder"):
        pack(good * 70000, good)
    with pytest.raises(ModelError, match="scale it"):
        pack(good, good * 1e10)


# -- classes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tags", "classes"),
    [
        (named(*LABELS), ("Top up", "Card", "Rate")),
        (named(*LABELS), ("TOP_UP", "card", " rate ")),
        (
            ['<Choice value="Charge" alias="Top up"/>', *named("Card", "Rate")],
            ("Top up", "Card", "Rate"),
        ),
        (
            ['<Choice value="Top up" predicted_values="LABEL_0,zero"/>', *named("Card", "Rate")],
            ("LABEL_0", "Card", "Rate"),
        ),
    ],
)
def test_classes_find_their_labels(tags: list[str], classes: tuple[str, ...]) -> None:
    control = choices(*tags).controls[0]
    assert labels_of_classes(classes, 3, control) == ("Top up", "Card", "Rate")


def test_without_names_outputs_are_the_labels_in_order() -> None:
    assert labels_of_classes(None, 3, CLASSES.controls[0]) == LABELS
    assert labels_of_classes(("anything",), 1, number().controls[0]) == ()


@pytest.mark.parametrize(
    ("classes", "n_outputs", "message"),
    [
        (("Card", "Rate", "LABEL_2"), 3, r"without a label: 'LABEL_2'.*without a class: 'Top up'"),
        (("Card", "Rate"), 2, r"classes without a label: none; labels without a class: 'Top up'"),
        (("Card", "Rate", "Top up", "x"), 4, r"predicted_values"),
        (("Card", "Rate", "card"), 3, r"without a class: 'Top up'"),
        (("Card", "Rate"), 3, r"3 outputs and 2 classes"),
        (None, 4, r"4 outputs and 3 classes"),
    ],
)
def test_what_cannot_be_mapped_is_named(
    classes: tuple[str, ...] | None, n_outputs: int, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        labels_of_classes(classes, n_outputs, CLASSES.controls[0])


def test_labels_that_differ_in_case_only_are_not_confused() -> None:
    control = choices(*named("us", "US")).controls[0]
    assert labels_of_classes(("US", "us"), 2, control) == ("US", "us")
    with pytest.raises(SettingsError, match="without a label: 'Us'"):
        labels_of_classes(("Us", "us"), 2, control)


def test_a_regressor_has_one_output() -> None:
    with pytest.raises(SettingsError, match="takes one number"):
        labels_of_classes(("a", "b"), 2, number().controls[0])


# -- Hugging Face folders -------------------------------------------------------------------------


def bert_logits(folder: Path, *columns: Sequence[str]) -> np.ndarray:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        rows = [model(**tokenizer(*row, return_tensors="pt")).logits for row in zip(*columns)]  # noqa: B905
    return torch.cat(rows).numpy()


def test_a_sequence_classifier_is_used_as_it_is(tmp_path: Path) -> None:
    classes = {"id2label": {0: "RATE", 1: "card", 2: "top_up"}, "label2id": {}}
    folder = save_bert(tmp_path / "bert", "BertForSequenceClassification", **classes)
    logits, found = answers(own(tmp_path, folder), texts())
    expected = bert_logits(folder, TEXTS)
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    order = ["Rate", "Card", "Top up"]
    assert [answer.label for answer in found] == [order[k] for k in expected.argmax(axis=1)]
    shares = softmax(expected, axis=1).max(axis=1)
    np.testing.assert_allclose([answer.score for answer in found], shares, atol=1e-4)
    assert len({answer.label for answer in found}) > 1


def test_two_texts_are_a_pair(tmp_path: Path) -> None:
    folder = save_bert(tmp_path / "bert", "BertForSequenceClassification", **IDS)
    contents = [{"text": a, "other": b} for a, b in zip(TEXTS, TEXTS[::-1], strict=True)]
    task = choices(*named(*LABELS), objects=PAIR)
    logits, _ = answers(own(tmp_path, folder, task), contents)
    np.testing.assert_allclose(logits, bert_logits(folder, TEXTS, TEXTS[::-1]), atol=1e-4)
    three = choices(*named(*LABELS), objects=PAIR + '<Text name="v" value="$third"/>')
    with pytest.raises(SettingsError, match="one text or a pair"):
        own(tmp_path, folder, three)
    with pytest.raises(SettingsError, match="one text or a pair"):
        own(tmp_path, folder, IMAGES)


def test_several_labels_by_sigmoid(tmp_path: Path) -> None:
    folder = save_bert(tmp_path / "bert", "BertForSequenceClassification", **IDS)
    task = choices(*named(*LABELS[::-1]), choice="multiple")
    _, found = answers(own(tmp_path, folder, task), texts())
    for answer, row in zip(found, expit(bert_logits(folder, TEXTS)), strict=True):
        expected = [label for label, p in zip(LABELS, row, strict=True) if p >= 0.5][::-1]
        assert answer.label == expected
        assert answer.score == pytest.approx(np.maximum(row, 1 - row).min(), abs=1e-4)


def test_a_regressor(tmp_path: Path) -> None:
    folder = save_bert(tmp_path / "bert", "BertForSequenceClassification", num_labels=1)
    model = own(tmp_path, folder, number())
    _, found = answers(model, texts())
    expected = bert_logits(folder, TEXTS)[:, 0]
    np.testing.assert_allclose([answer.label for answer in found], expected, atol=1e-5)
    assert found[0].score is None
    with pytest.raises(SettingsError, match="without a label: 'LABEL_0'"):
        own(tmp_path, folder)


def test_an_image_classifier(tmp_path: Path) -> None:
    folder = save_vit(tmp_path / "vit", "ViTForImageClassification", **IDS)
    model = own(tmp_path, folder, IMAGES)
    logits, _ = answers(model, [{"image": str(at)} for at in range(4)])
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    images = [Image.open(io.BytesIO(png(at))) for at in range(4)]
    network = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        expected = network(**processor(images=images, return_tensors="pt")).logits
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    vectors, failed = model.encode([{"image": "1"}, {"image": "gone"}, {"image": "2"}])
    assert list(failed) == [1]
    assert not vectors[1].any()
    assert vectors[[0, 2]].any(axis=1).all()
    with pytest.raises(SettingsError, match="reads an image"):
        own(tmp_path, folder)


def test_a_folder_that_is_no_classifier(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"BertModel, which is no classifier.*ENCODER"):
        own(tmp_path, save_bert(tmp_path / "bert"))
    folder = save_bert(tmp_path / "other", "BertForSequenceClassification", **IDS)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"id2label": {"0": "a", "1": "b"}}))
    with pytest.raises(SettingsError, match=r"other.*(lacks weights|cannot be loaded)"):
        own(tmp_path, folder)


# -- files ----------------------------------------------------------------------------------------


def onnx_file(path: Path, nodes: list[Any], inputs: list[Any], **tensors: np.ndarray) -> Path:
    graph = helper.make_graph(
        nodes,
        "classifier",
        inputs,
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", None])],
        [numpy_helper.from_array(values, name) for name, values in tensors.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


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
        ("{", r"'m.onnx.json' is wrong at the file"),
        ('{"inputs": []}', r"wrong at inputs"),
        ('{"inputs": [{"kind": "sound"}]}', r"wrong at inputs.0"),
        ('{"inputs": [{"kind": "image"}]}', r"wrong at inputs.0.image.size: Field required"),
        ('{"inputs": [{"kind": "image", "size": [8, 0]}]}', r"inputs.0.image.size.1"),
        ('{"inputs": [{"kind": "image", "size": [8, 6], "sise": 1}]}', r"inputs.0.image.sise"),
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


# -- factories ------------------------------------------------------------------------------------

FACTORY = '''
"""What an operator writes."""
import io
import numpy as np
import torch
from PIL import Image

WEIGHT = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)

class Lengths:
    """A callable of texts: counts of four letters, and a linear layer."""
    classes = ["rate", "card", "top up"]
    version = "1"

    def __call__(self, texts):
        counts = np.array([[t.count(c) for c in "acet"] for t in texts], np.float32)
        return counts @ WEIGHT.T, counts

def lengths(labels):
    return Lengths()

def brightness(labels):
    """A module and what prepares its batches: the mean colors of images, and a text's length."""
    torch.manual_seed(0)
    head = torch.nn.Linear(5, len(labels))
    model = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU(), head)
    def prepare(contents):
        rows = []
        for content in contents:
            image = Image.open(io.BytesIO(content["image"])).convert("RGB").resize((1, 1))
            rows.append([*np.asarray(image).ravel() / 255, len(content["text"]) / 10])
        return np.array(rows, np.float32)
    return model, prepare

def reversed_bert(labels):
    model, tokenizer = bert(labels)
    model.config.id2label = {0: "Top up", 1: "Rate", 2: "Card"}
    return model, tokenizer

def counted_bert(labels):
    model, tokenizer = bert(labels)
    model.config.id2label = {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}
    return model, tokenizer

def bert(labels):
    import transformers
    folder = %r
    return (transformers.AutoModelForSequenceClassification.from_pretrained(folder),
            transformers.AutoTokenizer.from_pretrained(folder))

def vit(labels):
    import transformers
    folder = %r
    return (transformers.AutoModelForImageClassification.from_pretrained(folder),
            transformers.AutoImageProcessor.from_pretrained(folder))

def broken(labels):
    raise RuntimeError("no such weights")

def nothing(labels):
    return 3
'''


@pytest.fixture
def factories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"factories_{tmp_path.name}"
    (tmp_path / f"{name}.py").write_text(FACTORY % (str(tmp_path / "bert"), str(tmp_path / "vit")))
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_a_callable_with_classes_of_its_own(tmp_path: Path, factories: str) -> None:
    logits, found = answers(own(tmp_path, f"{factories}:lengths"), texts())
    weight = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    counts = np.array([[text.count(c) for c in "acet"] for text in TEXTS])
    np.testing.assert_allclose(logits, counts @ weight.T, atol=1e-4)
    order = ["Rate", "Card", "Top up"]
    assert [a.label for a in found] == [order[k] for k in (counts @ weight.T).argmax(axis=1)]


def test_a_module_and_its_prepare(tmp_path: Path, factories: str) -> None:
    task = choices(*named(*LABELS), objects=IMAGE + '<Text name="u" value="$text"/>')
    model = own(tmp_path, f"{factories}:brightness", task)
    contents = [{"image": str(at), "text": "x" * at} for at in range(4)]
    vectors, failed = model.encode([*contents, {"image": "gone", "text": "x"}])
    assert list(failed) == [4]
    alone = np.concatenate([model.encode([content])[0] for content in contents])
    np.testing.assert_allclose(vectors[:4], alone, atol=1e-4)
    assert model.n_features == 5 + 2 * 3


def test_a_file_that_prepare_fails_on_does_not_cost_the_others(
    tmp_path: Path, factories: str
) -> None:
    task = choices(*named(*LABELS), objects=IMAGE + '<Text name="u" value="$text"/>')
    settings = settings_of(tmp_path, f"{factories}:brightness")
    damaged = load_own_model(settings, task, lambda a: b"no image" if a == "x" else load(a))
    contents = [{"image": image, "text": "t"} for image in ("1", "x", "2")]
    vectors, failed = damaged.encode(contents)
    assert list(failed) == [1]
    assert vectors[[0, 2]].any(axis=1).all()


def test_a_model_and_its_tokenizer(tmp_path: Path, factories: str) -> None:
    folder = save_bert(tmp_path / "bert", "BertForSequenceClassification", **IDS)
    expected = bert_logits(folder, TEXTS)
    orders = {"bert": LABELS, "reversed_bert": LABELS[::-1], "counted_bert": LABELS}
    for function, order in orders.items():
        logits, found = answers(own(tmp_path, f"{factories}:{function}"), texts())
        np.testing.assert_allclose(logits, expected, atol=1e-4)
        assert [answer.label for answer in found] == [order[k] for k in expected.argmax(axis=1)]


def test_a_model_and_its_image_processor(tmp_path: Path, factories: str) -> None:
    folder = save_vit(tmp_path / "vit", "ViTForImageClassification", **IDS)
    contents = [{"image": str(at)} for at in range(3)]
    logits, _ = answers(own(tmp_path, f"{factories}:vit", IMAGES), contents)
    expected, _ = answers(own(tmp_path, folder, IMAGES), contents)
    np.testing.assert_allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("broken", "RuntimeError: no such weights"),
        ("absent", "has no attribute 'absent'"),
        ("nothing", "a model of type int is not known"),
    ],
)
def test_a_factory_that_fails(tmp_path: Path, factories: str, function: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        own(tmp_path, f"{factories}:{function}")


def test_the_factory_of_the_documentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = DOCS / "encoders-and-models.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    (tmp_path / "team_model.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    model = own(tmp_path, "team_model:make")
    assert model.n_features == 16 + 2 * 3
    logits, found = answers(model, texts())
    assert np.abs(logits[0] - logits[2]).max() > 1e-3
    assert {answer.label for answer in found} <= set(LABELS)


def test_the_json_of_the_documentation() -> None:
    page = DOCS / "encoders-and-models.md"
    described = re.findall(r"```json\n(.*?)```", page.read_text(), re.DOTALL)
    classifier, detector = map(Specification.model_validate_json, described)
    assert classifier.labels == detector.labels == ["cat", "dog"]
    assert classifier.regions is None
    assert detector.regions is not None
    assert detector.regions.kind == "yolo"


def test_a_module_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No module named 'no_such_module'"):
        own(tmp_path, "no_such_module:make")


# -- in the loop ----------------------------------------------------------------------------------


def test_the_fixed_head_in_front_of_the_cache_and_the_sampler(tmp_path: Path) -> None:
    folder = save_bert(tmp_path / "bert", "BertForSequenceClassification", **IDS)
    settings = settings_of(tmp_path, folder)
    contents = [{"text": f"{TEXTS[at % 5]} {TEXTS[at % 3]} {at}"} for at in range(60)]
    keys = [CLASSES.content_key(content) for content in contents]
    embedder = TaskEmbedder(settings, 1, CLASSES, load)
    rows, usable, failed = embedder.embed(contents, keys)
    assert (len(usable), failed) == (60, {})
    head = embedder.fixed_heads["c"]
    assert isinstance(head, Head)
    assert head.n_features == embedder.n_features == rows.shape[1] == 16 + 2 * 3
    assert head.version == f"model-{embedder.fingerprint.split('-')[1][:8]}"
    expected = bert_logits(folder, [content["text"] for content in contents])
    logits, embedding = head.sampler_model()(rows)
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert embedding.shape == (60, 16)
    truth = [answer.label for answer in head.predict(rows)]
    assert head.losses(rows, truth).sum() == 0
    for strategy in ("auto", "entropy"):
        sampler = ActiveSampler(
            "classification",
            head.sampler_model(),
            5,
            labeled_data=rows[:10],
            seed_fisher=True,
            strategy=strategy,
            random_state=0,
        )
        chosen = sampler.rank(rows[10:], 8).indices
        assert len(set(chosen)) == 8
        if strategy == "entropy":
            shares = softmax(expected[10:], axis=1)
            entropy = -(shares * np.log(shares)).sum(axis=1)
            np.testing.assert_allclose(entropy[chosen], np.sort(entropy)[::-1][:8], atol=1e-5)


def test_only_its_embeddings_when_it_is_an_encoder(tmp_path: Path) -> None:
    folder = save_bert(tmp_path / "bert", "BertForSequenceClassification")  # LABEL_0, LABEL_1
    settings = settings_of(tmp_path, folder, model_use="encoder")
    embedder = TaskEmbedder(settings, 1, CLASSES, load)
    rows, _, _ = embedder.embed(texts(), [CLASSES.content_key(c) for c in texts()])
    assert not embedder.fixed_heads
    assert rows.shape == (5, 16)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-3)
    assert embedder.fingerprint.endswith("-encoder")


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


def test_two_projects_and_several_threads_share_one_model(tmp_path: Path) -> None:
    folder = save_bert(tmp_path / "bert", "BertForSequenceClassification", **IDS)
    expected = bert_logits(folder, TEXTS)
    multiple = choices(*named(*LABELS), choice="multiple")
    found: list[np.ndarray] = []

    def work(task: LabelingTask) -> None:
        for _ in range(3):
            found.append(answers(own(tmp_path, folder, task), texts())[0])

    threads = [threading.Thread(target=work, args=(t,)) for t in (CLASSES, multiple) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 12
    for logits in found:
        np.testing.assert_allclose(logits, expected, atol=1e-4)


# -- who may name what ----------------------------------------------------------------------------


@pytest.fixture
def laid_out(tmp_path: Path) -> Settings:
    settings = settings_of(tmp_path, "")
    models = settings.model_dir / "models"
    (models / "team" / "bert").mkdir(parents=True)
    (models / "model.onnx").touch()
    (tmp_path / "secret").mkdir()
    (models / "out").symlink_to(tmp_path / "secret")
    (models / "in").symlink_to(models / "team")
    return settings


@pytest.mark.parametrize("value", ["", "model.onnx", "team/bert", "in/bert"])
def test_a_project_names_what_the_operator_laid_out(laid_out: Settings, value: str) -> None:
    check_project_value("model", value, laid_out)


@pytest.mark.parametrize(
    "value",
    [
        "/etc/passwd",
        "../../secret",
        "team/../../../secret",
        "team/../model.onnx",
        "./model.onnx",
        "~/model.onnx",
        "out",
        "absent",
        "os:system",
        "package.module:function",
        ".",
        "\0",
        "team\\bert",
    ],
)
def test_a_project_names_nothing_else_as_its_model(laid_out: Settings, value: str) -> None:
    with pytest.raises(
        SettingsError, match=r"model: a project may not name .*MODEL_DIR/models"
    ) as e:
        check_project_value("model", value, laid_out)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    "value", ["", "minilm", "team/bert", "BAAI/bge-small-en-v1.5", "minilm, openai/clip-vit"]
)
def test_a_project_names_encoders_of_the_hub_too(laid_out: Settings, value: str) -> None:
    check_project_value("encoder", value, laid_out)


@pytest.mark.parametrize(
    "value",
    [
        "/etc",
        "../x",
        "out",
        "minilm,/etc",
        "a/b/c",
        "https://x/y",
        "os:system",
        "~",
        "a..b",
        "in/../out",
    ],
)
def test_a_project_names_no_other_encoders(laid_out: Settings, value: str) -> None:
    with pytest.raises(SettingsError, match="encoder: a project may not name"):
        check_project_value("encoder", value, laid_out)


@given(st.text(max_size=30))
def test_what_passes_stays_below_the_models_folder(
    tmp_path_factory: pytest.TempPathFactory, value: str
) -> None:
    settings = settings_of(tmp_path_factory.getbasetemp(), "")
    root = (settings.model_dir / "models").resolve()
    (root / "a").mkdir(parents=True, exist_ok=True)
    check: Callable[..., None] = check_project_value
    try:
        check("model", value, settings)
    except SettingsError:
        return
    assert value == "" or (root / value).resolve().is_relative_to(root)
