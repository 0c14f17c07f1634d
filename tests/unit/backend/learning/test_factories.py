"""Factories as models of a project: functions of the operator that make one."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from active_learn_backend.errors import SettingsError
from active_learn_backend.learning.user_models import load_own_model
from own_models import (
    IDS,
    IMAGE,
    IMAGES,
    LABELS,
    TEXTS,
    answers,
    bert_logits,
    choices,
    load,
    named,
    own,
    settings_of,
    texts,
)
from tiny_models import save_bert, save_vit

DOCS = Path(__file__).parents[4] / "backend" / "docs"


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


def test_a_module_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No module named 'no_such_module'"):
        own(tmp_path, "no_such_module:make")
