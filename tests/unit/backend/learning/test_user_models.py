"""The team's own model: every kind of it, its classes, and who may name it."""

from __future__ import annotations

import io
import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from active_learn import ActiveSampler
from active_learn.errors import ModelError
from active_learn.heads import Head
from active_learn_backend.errors import SettingsError
from active_learn_backend.labeling.config import LabelingTask
from active_learn_backend.learning.embedding.embedder import TaskEmbedder
from active_learn_backend.learning.user_models.classes import labels_of_classes
from active_learn_backend.learning.user_models.vectors import embedding_of, logits_of, pack
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from own_models import (
    CLASSES,
    IDS,
    IMAGES,
    LABELS,
    PAIR,
    TEXTS,
    answers,
    bert_logits,
    choices,
    load,
    named,
    number,
    own,
    png,
    settings_of,
    texts,
)
from PIL import Image
from scipy.special import expit, softmax
from tiny_models import save_bert, save_vit

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
