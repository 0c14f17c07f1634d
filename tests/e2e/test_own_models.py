"""A team's own models, made small by these tests, on a real Label Studio."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import transformers
from active_learn_backend.demo.annotator import Annotator
from active_learn_backend.demo.backend import BackendServer
from active_learn_backend.demo.digits import Digits, digit_index
from active_learn_backend.demo.process import ServerError, wait_until
from harness import PATIENCE, Harness
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from sklearn.neural_network import MLPClassifier
from tiny_models import WORDS, save_bert, save_token_classifier, save_vit


@pytest.fixture
def params() -> dict[str, Any]:
    return {"budget": 8, "reserve": 8, "retrain_every": 8, "audit": 0}


@pytest.fixture
def models(shared_backend: BackendServer) -> Path:
    """The folder whose models a project may name."""
    folder = shared_backend.model_dir / "models"
    folder.mkdir(exist_ok=True)
    return folder


def queue_answers(harness: Harness, project: int) -> dict[int, dict[str, Any]]:
    """Return the answers that annotators see in the queue, by task."""
    rows = harness.rows(project, harness.version(project))
    return {row["task"]: row["result"][0] for row in rows if row["result"]}


def label_until_a_head(harness: Harness, annotator: Annotator, project: int, what: str) -> None:
    """Label 24 tasks, and wait for a head that knows most of them."""
    for _ in annotator.label(24):
        pass

    def trained() -> bool:
        last = harness.rounds(project)[-1]
        return bool(last.labeled >= 16 and last.head_version)

    wait_until(trained, timeout=60, what=what)


def test_a_hugging_face_classifier_is_used_as_it_is(
    harness: Harness,
    make_text_project: Callable[..., tuple[int, list[int]]],
    models: Path,
) -> None:
    """Its answers are those of the model itself, its classes named otherwise than the labels."""
    folder = save_bert(
        models / "classifier",
        "BertForSequenceClassification",
        id2label={0: "CARD LOST", 1: "rates", 2: "Top_Up"},
        label2id={"CARD LOST": 0, "rates": 1, "Top_Up": 2},
    )
    config = (
        '<View><Text name="text" value="$text"/><Choices name="intent" toName="text">'
        '<Choice value="card lost"/><Choice value="exchange rate" predicted_values="rates,fx"/>'
        '<Choice value="A top-up failed" alias="top_up"/></Choices></View>'
    )
    texts = [f"{a} {b} {c}" for a in WORDS[:4] for b in WORDS[4:7] for c in WORDS[7:]]
    project, ids = make_text_project(texts, config=config)
    harness.connect(project, model="classifier", prelabel="head")

    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        logits = model(**tokenizer(texts, padding=True, return_tensors="pt")).logits
    names = ["card lost", "exchange rate", "top_up"]
    expected = dict(zip(ids, (names[k] for k in logits.argmax(dim=1).tolist()), strict=True))
    assert len(set(expected.values())) > 1

    answers = queue_answers(harness, project)
    assert len(answers) == 16
    for task, item in answers.items():
        assert item["value"]["choices"] == [expected[task]]
        probability = float(torch.softmax(logits[ids.index(task)], dim=0).max())
        assert item["score"] == pytest.approx(probability, abs=5e-3)
    state = harness.state(project)
    assert state.head_version.startswith("model-")
    assert state.head_round == 0  # nothing was trained


def digits_onnx(digits: Digits, path: Path) -> float:
    """Write a network of two layers, trained on images that are in no test; its accuracy there."""

    def pixels(numbers: np.ndarray) -> np.ndarray:
        images = [Image.open(io.BytesIO(digits.png[n])).convert("L") for n in numbers]
        return np.stack([np.asarray(image.resize((8, 8), 2), np.float32) for image in images])

    truth = np.array([digits.truth[n] for n in digits.held_out])
    network = MLPClassifier((32,), max_iter=400, random_state=0)
    network.fit(pixels(digits.held_out).reshape(-1, 64) / 255, truth)
    weights = [
        numpy_helper.from_array(array.astype(np.float32), name)
        for name, array in (
            ("w1", network.coefs_[0]), ("b1", network.intercepts_[0]),
            ("w2", network.coefs_[1]), ("b2", network.intercepts_[1]),
        )
    ]  # fmt: skip
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["image"], ["flat"]),
            helper.make_node("Gemm", ["flat", "w1", "b1"], ["hidden"]),
            helper.make_node("Relu", ["hidden"], ["active"]),
            helper.make_node("Gemm", ["active", "w2", "b2"], ["logits"]),
        ],
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 10])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    classes = [str(name) for name in network.classes_]
    image = {"kind": "image", "size": [8, 8], "mode": "L"}
    path.with_name(path.name + ".json").write_text(
        json.dumps({"labels": classes, "inputs": [image]})
    )
    others = digits.pool[:300]
    right = network.predict(pixels(others).reshape(-1, 64) / 255)
    return float(np.mean(right == np.array([digits.truth[n] for n in others])))


def interactive_answers(
    harness: Harness, project: int, tasks: list[int], result: list[dict[str, Any]]
) -> list[list[dict[str, Any]]]:
    """Ask as Label Studio does where somebody used a smart tool: through it, task by task."""
    (model,) = harness.api("GET", f"/api/ml?project={project}")
    if not model["is_interactive"]:
        # Label Studio asks for the health and the setup anew, of what the change holds.
        same = {name: model[name] for name in ("url", "project", "extra_params")}
        harness.api("PATCH", f"/api/ml/{model['id']}", {**same, "is_interactive": True})
    path = f"/api/ml/{model['id']}/interactive-annotating"
    answers = [
        harness.api("POST", path, {"task": task, "context": {"result": result}}) for task in tasks
    ]
    return [answer["data"]["result"] for answer in answers]


def test_a_token_classifier_proposes_spans_before_any_label(
    harness: Harness,
    make_text_project: Callable[..., tuple[int, list[int]]],
    models: Path,
) -> None:
    """They are those of the pipeline of transformers, also behind emoji."""
    folder = save_token_classifier(models / "entities")
    config = (
        '<View><Labels name="ner" toName="text"><Label value="Person" alias="PER"/>'
        '<Label value="Place" predicted_values="LOC"/></Labels>'
        '<Text name="text" value="$text"/></View>'
    )
    texts = [
        f"\U0001f600 {a} {b}\n{c}, {a}s" for a in WORDS[:4] for b in WORDS[4:8] for c in WORDS[9:]
    ]
    project, ids = make_text_project(texts, config=config)
    harness.connect(project, model="entities", prelabel="head")

    pipeline = transformers.pipeline(
        "token-classification", str(folder), aggregation_strategy="first"
    )
    labels = {"PER": "PER", "LOC": "Place"}
    rows = harness.rows(project, harness.version(project))
    assert len(rows) == 16
    for row in rows:
        text = texts[ids.index(row["task"])]
        expected = [
            (one["start"], one["end"], labels[one["entity_group"]])
            for one in pipeline(text)
            if one["entity_group"] in labels
        ]
        values = [item["value"] for item in row["result"]]
        assert [(one["start"], one["end"], *one["labels"]) for one in values] == expected
        assert all(one["text"] == text[one["start"] : one["end"]] for one in values)
    assert sum(len(row["result"]) for row in rows) > 16


def test_an_onnx_classifier_is_used_as_it_is_as_an_encoder_and_exported_with_its_head(
    harness: Harness,
    digits_project: Callable[..., int],
    make_annotator: Callable[..., Annotator],
    digit_images: Digits,
    answer_digit: Callable[..., Any],
    models: Path,
) -> None:
    accuracy = digits_onnx(digit_images, models / "digits.onnx")
    assert accuracy > 0.8
    project = digits_project(60, model="digits.onnx", prelabel="head")
    tasks = harness.api("GET", f"/api/tasks/?project={project}&page_size=100&include=id,data")[
        "tasks"
    ]
    truth = {task["id"]: digit_images.truth[digit_index(task)] for task in tasks}

    answers = queue_answers(harness, project)
    right = [item["value"]["choices"] == [truth[task]] for task, item in answers.items()]
    assert len(right) == 16
    assert np.mean(right) > 0.4  # those that it is least sure of
    as_it_is = harness.state(project).head_version
    assert as_it_is.startswith("model-")

    before = int(harness.version(project)[3:])
    harness.connect(project, model="digits.onnx", model_use="encoder", prelabel="head")
    harness.wait_queue(project, after=before)
    annotator = make_annotator(project, answer_digit)
    label_until_a_head(harness, annotator, project, "a head on the embeddings of the own model")
    assert harness.rounds(project)[-1].head_version.startswith("head-")

    # Its encoder and the head in one file: it answers as they did, to interactive requests too.
    wait_until(
        lambda: (
            (state := harness.state(project)).lease_owner is None
            and state.change_seq == state.processed_seq
        ),
        timeout=PATIENCE,
        what="the end of the last round",
    )
    version = harness.state(project).head_version
    said = harness.backend.run("export-model", "--project", str(project), str(models / "exported"))
    assert "on 60 tasks it answers as the backend does" in said
    some = sorted(truth)[:6]
    by_head = interactive_answers(harness, project, some, [])
    assert interactive_answers(harness, project, some[:1], by_head[0]) == [[]]  # it is answered
    assert harness.state(project).head_version == version
    harness.connect(project, model="exported/model.onnx", prelabel="head")
    wait_until(  # what was copied first serves until the exported file is loaded
        lambda: harness.state(project).head_version not in (as_it_is, version),
        timeout=PATIENCE,
        what="the exported model",
    )
    assert harness.state(project).head_version.startswith("model-")
    by_file = interactive_answers(harness, project, some, [])
    for (one,), (other,) in zip(by_file, by_head, strict=True):
        assert one["value"] == other["value"]
        assert one["score"] == pytest.approx(other["score"], abs=5e-3)  # half precision


def test_images_by_a_vision_model(
    harness: Harness,
    digits_project: Callable[..., int],
    make_annotator: Callable[..., Annotator],
    answer_digit: Callable[..., Any],
    models: Path,
) -> None:
    """Its weights are random, which is enough to tell some digits from others."""
    save_vit(models / "vit")
    project = digits_project(60, encoder="vit")
    annotator = make_annotator(project, answer_digit)
    label_until_a_head(harness, annotator, project, "a head on the vision model's embeddings")
    folders = list((harness.backend.model_dir / "projects" / str(project) / "embeddings").iterdir())
    assert len(folders) == 1
    assert "pixels" not in folders[0].name
    assert (folders[0] / "vectors.f16").stat().st_size == 60 * 16 * 2


def test_a_model_that_does_not_fit_is_said_and_the_stream_stays(
    harness: Harness,
    make_text_project: Callable[..., tuple[int, list[int]]],
    models: Path,
) -> None:
    save_bert(
        models / "pets",
        "BertForSequenceClassification",
        id2label={0: "cat", 1: "dog"},
        label2id={"cat": 0, "dog": 1},
    )
    project, _ = make_text_project(["my card", "top up"])
    with pytest.raises(ServerError, match="classes without a label: 'cat', 'dog'"):
        harness.backend.run("connect", "--project", str(project), "--params", '{"model": "pets"}')
    assert harness.find(project) is None
    assert harness.project(project)["sampling"] == "Sequential sampling"
    assert harness.version(project) == ""
