"""A token classifier as the model of a project whose spans are labeled, with the fake server."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import transformers
from active_learn_backend.doctor.models import check_usable
from active_learn_backend.errors import TrainingError
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.labelstudio.content_loader import ContentLoader
from active_learn_backend.learning.engines.local import LocalEngine
from active_learn_backend.learning.training.data import trained_task
from active_learn_backend.state.model_versions import read_refusal, read_versions
from active_learn_backend.state.queue import read_queue
from active_learn_backend.state.rounds import last_round
from active_learn_backend.web.app import create_app
from active_learn_backend.web.change_buffer import ChangeBuffer
from active_learn_backend.web.ml_backend import ActiveLearningModel, Runtime
from active_learn_backend.web.project_secrets import ProjectSecrets
from active_learn_backend.worker.model_update import ModelUpdates
from active_learn_backend.worker.work import Work
from fake_label_studio import FakeLabelStudio
from tiny_models import WORDS, save_onnx_token_classifier, save_token_classifier
from worker_backend import Backend

CONFIG = (
    '<View><Labels name="ner" toName="text"><Label value="Person" alias="PER"/>'
    '<Label value="Place" predicted_values="LOC"/><Label value="MISC"/></Labels>'
    '<Text name="text" value="$text"/></View>'
)
CONTROL = parse_label_config(CONFIG).controls[0]
TEXTS = [f"{a} {b} {c}, {a}s" for a in WORDS[:5] for b in WORDS[5:9] for c in WORDS[8:10]]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_token_classifier(tmp_path / "models" / "ner")


@pytest.fixture
def project(backend: Backend, studio: FakeLabelStudio) -> int:
    project = studio.add_project(TEXTS, CONFIG)
    backend.store.register(project)
    backend.store.update(project, mode="pull")
    return project


def expected(model: Path, text: str) -> list[list[Any]]:
    """Return what the pipeline of transformers finds."""
    labels = {"PER": "PER", "LOC": "Place", "MISC": "MISC"}
    pipeline = transformers.pipeline(
        "token-classification", str(model), aggregation_strategy="first"
    )
    return [[one["start"], one["end"], labels[one["entity_group"]]] for one in pipeline(text)]


def rows_of(studio: FakeLabelStudio, version: str) -> list[dict[str, Any]]:
    return [row for row in studio.rows.values() if row["model_version"] == version]


def test_it_proposes_and_orders_before_any_label(
    backend: Backend, studio: FakeLabelStudio, project: int, model: Path
) -> None:
    values = {"model": str(model), "prelabel": "head", "budget": 8}
    backend.turn(project, **values)
    rows = rows_of(studio, "al-1")
    assert len(rows) >= 8
    for row in rows:
        text = studio.tasks[row["task"]]["data"]["text"]
        assert CONTROL.read(row["result"]) == expected(model, text)
        for item in row["result"]:
            assert item["value"]["text"] == text[item["value"]["start"] : item["value"]["end"]]
            assert 0 < item["score"] <= 1
    assert any(row["result"] for row in rows)
    state = backend.store.known_project(project)
    assert re.fullmatch(r"model-[0-9a-f]{8}", state.model_version)
    assert not state.head_round

    first = {row.task_id for row in read_queue(backend.store, project)}
    for row in read_queue(backend.store, project):
        studio.submit(row.task_id, [])
    backend.turn(project, **values)
    assert not first & {row.task_id for row in read_queue(backend.store, project)}
    assert not backend.store.known_project(project).head_round  # no head is trained
    page = create_app(backend.settings(**values)).test_client()
    html = page.get(f"/projects/{project}", headers={"Accept": "text/html"}).text
    assert state.model_version in html
    waiting = page.get(f"/projects/{project}.json").json["queue"]
    shown = {one["task_id"]: shown_regions(one) for one in waiting if not one["audit"]}
    assert shown == {
        task: [[text[start:end], label] for start, end, label in expected(model, text)]
        for task in shown
        for text in [studio.tasks[task]["data"]["text"]]
    }
    assert any(shown.values())
    assert "<mark>" in html
    assert " words unsure" in html


def shown_regions(task: dict[str, Any]) -> list[list[str]]:
    """Return the regions of a task on the status page: their texts and labels."""
    (proposal,) = task["proposals"]
    return [[one["text"], one["label"]] for one in proposal["pieces"] if one["label"]]


@pytest.mark.parametrize("file", ["model.safetensors", "model.onnx"])
def test_it_answers_live(
    backend: Backend, project: int, model: Path, tmp_path: Path, file: str
) -> None:
    served = model if file in os.listdir(model) else tmp_path / "models" / "onnx"
    if served != model:
        save_onnx_token_classifier(served, model)
    settings, store = backend.settings(model=str(served)), backend.store
    backend.turn(project, model=str(served))
    client = backend.client(settings)
    parts = (ChangeBuffer(store), client, ContentLoader(settings, client), ProjectSecrets(store))
    live = ActiveLearningModel(str(project), CONFIG, runtime=Runtime(settings, store, *parts))
    text = "\U0001f600 why my card failed, lost"
    (answer,) = live.predict([{"id": 1, "data": {"text": text}}])
    client.close()
    assert CONTROL.read(answer["result"]) == expected(model, text)
    assert answer["model_version"] == store.known_project(project).model_version


def test_beside_it_other_controls_keep_their_encoder_and_no_model_is_trained(
    backend: Backend, studio: FakeLabelStudio, model: Path
) -> None:
    choices = '<Choices name="c" toName="text"><Choice value="a"/><Choice value="b"/></Choices>'
    config = CONFIG.replace("</View>", f"{choices}</View>")
    task = parse_label_config(config)
    project = studio.add_project(TEXTS, config)
    backend.store.register(project)
    backend.store.update(project, mode="pull")
    values = {"model": str(model), "prelabel": "head", "budget": 12}
    backend.turn(project, **values)
    for at, row in enumerate(read_queue(backend.store, project)):
        studio.submit(row.task_id, task.controls[1].write("ab"[at % 2]))
    backend.turn(project, **values)
    state = backend.store.known_project(project)
    assert re.fullmatch(r"model-[0-9a-f]{8}\+head-2", state.model_version)
    with pytest.raises(TrainingError, match="finds regions, and a model that is trained"):
        trained_task(config, backend.settings(**values))


def test_audit_tasks_measure_it(
    backend: Backend, studio: FakeLabelStudio, project: int, model: Path
) -> None:
    values = {"model": str(model), "audit": 0.5, "budget": 8}
    backend.turn(project, **values)
    for row in read_queue(backend.store, project):
        text = studio.tasks[row.task_id]["data"]["text"]
        studio.submit(row.task_id, CONTROL.write(expected(model, text)))
    backend.turn(project, **values)
    report = last_round(backend.store, project)
    assert report is not None
    (found,) = report.controls
    assert found.evaluation.audit is not None
    assert (found.evaluation.audit.metric, found.evaluation.audit.value) == ("entity F1", 1.0)
    assert (found.label_errors, found.stability) == ((), None)


def test_as_an_encoder_it_feeds_a_head(
    backend: Backend, studio: FakeLabelStudio, project: int, model: Path
) -> None:
    """Each "lost" or "failed" is a person: that is learned on its hidden states."""
    values = {"model": str(model), "model_use": "encoder", "prelabel": "head", "budget": 16}
    backend.turn(project, **values)
    assert all(row["result"] == [] for row in rows_of(studio, "al-1"))
    for row in read_queue(backend.store, project):
        studio.submit(row.task_id, CONTROL.write(truth(studio.tasks[row.task_id]["data"]["text"])))
    backend.turn(project, **values)
    assert backend.store.known_project(project).head_version == "head-2"
    rows = rows_of(studio, "al-2")
    right = [
        CONTROL.read(row["result"]) == truth(studio.tasks[row["task"]]["data"]["text"])
        for row in rows
    ]
    assert sum(right) > 0.8 * len(right) > 0


def truth(text: str) -> list[list[Any]]:
    found = [match.span() for match in re.finditer(r"\b(lost|failed)\b", text)]
    return [[start, end, "PER"] for start, end in found]


def test_a_new_file_is_a_new_version_and_a_wrong_one_is_refused(
    backend: Backend, studio: FakeLabelStudio, project: int, model: Path
) -> None:
    values = {"model": str(model), "prelabel": "head"}
    settings = backend.settings(**values)
    backend.turn(project, **values)
    load = ContentLoader(settings, backend.client(settings)).load
    work = Work(settings, backend.store, load, LocalEngine(), threading.Event())
    updates = ModelUpdates(work)

    def until_idle() -> None:
        for _ in range(5):
            state = backend.store.known_project(project)
            if (due := updates.due(state)) is not None:
                due(state)

    until_idle()
    (version,) = read_versions(settings, project)
    assert version.name == backend.store.known_project(project).model_version
    weights = safetensors.torch.load_file(model / "model.safetensors")
    weights["classifier.weight"] = -weights["classifier.weight"]
    safetensors.torch.save_file(weights, model / "model.safetensors", {"format": "pt"})
    until_idle()
    backend.turn(project, **values)
    newer, _ = read_versions(settings, project)
    state = backend.store.known_project(project)
    assert (state.model_version, state.served_model) == (newer.name, newer.number)
    served = rows_of(studio, str(state.queue_version))
    assert any(row["result"] for row in served)
    for row in served:
        text = studio.tasks[row["task"]]["data"]["text"]
        assert CONTROL.read(row["result"]) == expected(model, text)

    config = (model / "config.json").read_text()
    (model / "config.json").write_text(config.replace("-MISC", "-THING"))
    until_idle()
    refusal = read_refusal(settings, project)
    assert refusal is not None
    assert "labels without a class: 'MISC'" in refusal.reason
    assert backend.store.known_project(project).model_version == newer.name


def test_what_doctor_and_connect_say(backend: Backend, model: Path) -> None:
    settings = backend.settings(model=str(model))
    client = backend.client(settings)
    task = parse_label_config(CONFIG.replace('<Label value="MISC"/>', ""))
    said = str(check_usable(client, settings, task, {}))
    assert "loads and proposes the regions of 'ner'" in said
    assert "no label stands for its classes 'B-MISC', 'I-MISC', which are left out" in said
    said = str(check_usable(client, settings, task, {"model_use": "encoder"}))
    assert "loads and makes the features for the regions of 'ner'" in said
    client.close()
