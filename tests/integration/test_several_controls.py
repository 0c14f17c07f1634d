"""A project of several controls: each has its head, its answers and its quality."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from active_learn.heads import load_heads
from active_learn.posterior.fisher import uncertainty
from active_learn_backend.doctor.project import examine_project
from active_learn_backend.errors import SettingsError
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.labelstudio.content_loader import ContentLoader
from active_learn_backend.learning.embedding.embedder import TaskEmbedder
from active_learn_backend.learning.heads import ControlHeads
from active_learn_backend.learning.quality.head_versions import roll_back
from active_learn_backend.learning.selection.project_params import check_params
from active_learn_backend.state.folders import heads_folder
from active_learn_backend.state.queue import read_queue
from active_learn_backend.state.round_report import RoundReport
from active_learn_backend.state.rounds import read_rounds
from active_learn_backend.state.tasks import read_tasks
from active_learn_backend.web.app import create_app
from active_learn_backend.web.change_buffer import ChangeBuffer
from active_learn_backend.web.ml_backend import ActiveLearningModel, Runtime
from active_learn_backend.web.project_secrets import ProjectSecrets
from active_learn_backend.web.warm_up import warm_up_in_background
from fake_label_studio import FakeLabelStudio
from tiny_models import save_bert
from worker_backend import Backend

CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="parity" toName="text">'
    '<Choice value="even"/><Choice value="odd"/></Choices>'
    '<Number name="size" toName="text" min="0" max="40"/>'
    '<TextArea name="remark" toName="text"/></View>'
)


def annotate(studio: FakeLabelStudio, task: int, *controls: str) -> None:
    """Answer some of the controls, as the text says."""
    number = int(studio.tasks[task]["data"]["text"].split()[1])
    values: dict[str, tuple[str, dict[str, Any]]] = {
        "parity": ("choices", {"choices": ["odd" if number % 2 else "even"]}),
        "size": ("number", {"number": number}),
    }
    studio.submit(
        task,
        [
            {
                "from_name": name,
                "to_name": "text",
                "type": values[name][0],
                "value": values[name][1],
            }
            for name in controls
        ],
    )


def rounds(backend: Backend, project: int) -> list[RoundReport]:
    return read_rounds(backend.store, project)


def predict(backend: Backend, project: int, **values: Any) -> list[dict[str, Any]]:
    settings = backend.settings(**values)
    client = backend.client(settings)
    store = backend.store
    runtime = Runtime(
        settings,
        store,
        ChangeBuffer(store),
        client,
        ContentLoader(settings, client),
        ProjectSecrets(store),
    )
    model = ActiveLearningModel(str(project), CONFIG, runtime=runtime)
    answers = model.predict([{"id": 1, "data": {"text": "number 3 of 111"}}])
    client.close()
    return answers


def controls_of(result: list[dict[str, Any]]) -> list[str]:
    return [item["from_name"] for item in result]


def test_each_control_has_its_head_its_answers_and_its_report(backend: Backend) -> None:
    studio = backend.studio
    project = backend.add_project(30, config=CONFIG)
    backend.turn(project)
    tasks = sorted(studio.tasks)
    for task in tasks[:12]:
        annotate(studio, task, "parity", "size")
    for task in tasks[12:16]:
        annotate(studio, task, "parity")
    backend.turn(project, prelabel="head")

    rows = {row.task_id: row.labels for row in read_tasks(backend.store, project)}
    assert rows[tasks[3]] == {"parity": "odd", "size": 3.0}
    assert rows[tasks[13]] == {"parity": "odd"}
    assert rows[tasks[20]] is None
    report = rounds(backend, project)[-1]
    assert report.labeled == 16
    assert [(one.control, one.labeled) for one in report.controls] == [("parity", 16), ("size", 12)]
    trained = [one.stability and one.stability.trained for one in report.controls]
    assert trained == [16, 12]
    heads = load_heads(heads_folder(backend.settings(), project), report.round)
    kinds = {name: head.problem_type for name, head in heads.items()}
    assert kinds == {"parity": "classification", "size": "regression"}
    # Queue and live answers hold both, in the order of the config.
    queued = [row for row in studio.rows.values() if row["model_version"] == report.queue_version]
    assert queued
    assert all(controls_of(row["result"]) == ["parity", "size"] for row in queued)
    (answer,) = predict(backend, project)
    assert controls_of(answer["result"]) == ["parity", "size"]
    assert answer["model_version"] == report.head_version == f"head-{report.round}"
    assert 0.5 <= answer["score"] < 1  # of the choice: a number has no probability


def test_what_the_annotator_has_answered_is_not_answered_again(backend: Backend) -> None:
    """As Label Studio asks where a smart tool was used: with all that the annotation holds."""
    project = backend.add_project(30, config=CONFIG)
    backend.turn(project)
    for task in sorted(backend.studio.tasks)[:12]:
        annotate(backend.studio, task, "parity", "size")
    backend.turn(project)
    client = create_app(backend.settings()).test_client()
    chosen = {
        "id": "1aa-14p0B6", "from_name": "parity", "to_name": "text", "type": "choices",
        "value": {"choices": ["odd"]}, "origin": "manual",
    }  # fmt: skip
    remark = {**chosen, "from_name": "remark", "type": "textarea", "value": {"text": ["so"]}}

    def ask(context: Any) -> list[str]:
        task = {
            "id": 1, "data": {"text": "number 3 of 111"}, "meta": {}, "is_labeled": False,
            "overlap": 1, "inner_id": 1, "total_annotations": 0, "project": project,
            "comment_authors": [], "annotations": [], "predictions": [], "drafts": [],
        }  # fmt: skip
        body = {
            "tasks": [task], "project": f"{project}.1712586036", "label_config": CONFIG,
            "params": {"login": None, "password": None, "context": context},
        }  # fmt: skip
        answer = client.post("/predict", json=body)
        assert answer.status_code == 200, answer.text
        (result,) = answer.get_json()["results"]
        return controls_of(result["result"])

    context = {"annotation_id": None, "draft_id": 0, "user_id": 1}
    assert ask(context | {"result": [chosen]}) == ["size"]
    assert ask(context | {"result": [remark]}) == ["parity", "size"]
    for nothing in (None, {}, context, {"result": []}, {"result": "odd"}, {"result": [3, None]}):
        assert ask(nothing) == ["parity", "size"]


def test_a_web_process_loads_the_models_of_its_projects_when_it_starts(
    backend: Backend, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One project whose models cannot be loaded costs the others nothing."""
    encoder = str(save_bert(tmp_path / "bert"))
    project, broken = backend.add_project(8), backend.add_project(8)
    backend.store.update(project, label_config=CONFIG, head_round=1)
    backend.store.update(broken, label_config="<View/>", head_round=1)
    app = create_app(backend.settings(encoder=encoder))
    with caplog.at_level("INFO"):
        warm_up_in_background(app.extensions["active_learn"]).join(60)
        loaded = f"loading the text encoder '{encoder}' on cpu"
        assert caplog.messages.count(loaded) == 1
        assert [one for one in caplog.messages if "its models are not loaded ahead" in one]
        body = {"tasks": [{"data": {"text": "my card"}}], "project": project}
        assert app.test_client().post("/predict", json=body).status_code == 200
        assert caplog.messages.count(loaded) == 1


def test_a_control_without_labels_waits_and_is_trained_later(backend: Backend) -> None:
    studio = backend.studio
    project = backend.add_project(30, config=CONFIG)
    backend.turn(project)
    tasks = sorted(studio.tasks)
    for task in tasks[:8]:
        annotate(studio, task, "parity")
    backend.turn(project)
    (answer,) = predict(backend, project)
    assert controls_of(answer["result"]) == ["parity"]
    before = rounds(backend, project)[-1].head_version
    for task in tasks[8:16]:
        annotate(studio, task, "size")
    backend.turn(project)
    (answer,) = predict(backend, project)
    assert controls_of(answer["result"]) == ["parity", "size"]
    # A version holds the heads of its time: going back leaves the other control without answers.
    roll_back(backend.settings(), backend.store, project, before)
    backend.turn(project)
    (answer,) = predict(backend, project)
    assert (answer["model_version"], controls_of(answer["result"])) == (before, ["parity"])
    assert rounds(backend, project)[-1].head_version == before


def test_the_ranking_reads_the_heads_of_all_controls(backend: Backend) -> None:
    project = backend.add_project(40, config=CONFIG)
    backend.turn(project)
    tasks = sorted(backend.studio.tasks)
    for task in tasks[:16]:
        annotate(backend.studio, task, "parity", "size")
    backend.turn(project)
    served = read_queue(backend.store, project)
    labeling = parse_label_config(CONFIG)
    embedder = TaskEmbedder(backend.settings(), project, labeling, lambda _: b"")
    contents = {row.task_id: row.content for row in read_tasks(backend.store, project)}
    rows = [contents[row.task_id] for row in served]
    vectors, *_ = embedder.embed(rows, [labeling.content_key(row) for row in rows])
    folder, number = heads_folder(backend.settings(), project), rounds(backend, project)[-1].round
    heads, _ = ControlHeads.load(folder, number, labeling, embedder)
    problem, model = heads.sampler_model()
    assert problem == (("classification", 2), ("regression", 1))
    unsure = uncertainty(model(vectors).logits[:, :2], "classification").numpy()
    # A number is as uncertain as before any label: the mean of both is what is shown.
    shown = [row.uncertainty for row in served]
    assert shown == pytest.approx((unsure + 1) / 2, abs=1e-5)


def test_a_stream_decides_by_all_controls_and_goes_on(backend: Backend) -> None:
    project = backend.add_project(30, config=CONFIG)
    backend.turn(project, budget=0.5)
    tasks = sorted(backend.studio.tasks)
    for task in tasks[:16]:
        annotate(backend.studio, task, "parity", "size")
    backend.turn(project, budget=0.5)
    state = backend.store.known_project(project).stream_state
    kind = state.partition("-")[0]
    for n in range(10):
        backend.studio.add_task(project, f"number {30 + n} of 7")
    backend.turn(project, budget=0.5)
    later = backend.store.known_project(project).stream_state
    assert later != state
    assert later.startswith(f"{kind}-")
    assert all(row.decision for row in read_tasks(backend.store, project))


def test_a_project_names_the_controls_that_it_learns(backend: Backend) -> None:
    studio = backend.studio
    project = backend.add_project(30, config=CONFIG)
    backend.store.set_params(project, {"controls": "size"})
    backend.turn(project)
    for task in sorted(studio.tasks)[:12]:
        annotate(studio, task, "parity", "size")
    backend.turn(project)
    report = rounds(backend, project)[-1]
    assert [one.control for one in report.controls] == ["size"]
    (answer,) = predict(backend, project)
    assert controls_of(answer["result"]) == ["size"]
    settings = backend.settings()
    with closing(backend.client(settings)) as client:
        first = next(iter(examine_project(client, backend.store, settings, project)))
    assert first.what.endswith("Choices 'parity' is not in CONTROLS")
    # All labels are there already when all controls are to be learned.
    backend.store.set_params(project, {})
    backend.store.update(project, request_round=True)
    backend.turn(project)
    (answer,) = predict(backend, project)
    assert controls_of(answer["result"]) == ["parity", "size"]
    with pytest.raises(SettingsError, match=r"'remark', which is no control .*: parity, size"):
        check_params(backend.settings(), parse_label_config(CONFIG), {"controls": "remark"})


OWN_MODEL = """
import re
import numpy as np

def make(labels):
    def model(texts):
        numbers = np.array([int((re.findall(r"[0-9]+", text) or [0])[0]) for text in texts])
        odd = numbers % 2
        waves = [np.sin(numbers / 9), np.cos(numbers / 9), numbers / 40, odd, np.ones(len(odd))]
        return np.stack([2 - 4.0 * odd, 4.0 * odd - 2], 1), np.stack(waves, 1)
    return model
"""


def test_an_own_model_answers_for_its_control_and_the_other_has_a_head(
    backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "parity_model.py").write_text(OWN_MODEL)
    monkeypatch.syspath_prepend(tmp_path)
    own = {"model": "parity_model:make"}
    project = backend.add_project(40, config=CONFIG)
    backend.turn(project, **own)
    tasks = sorted(backend.studio.tasks)
    (answer,) = predict(backend, project, **own)
    assert controls_of(answer["result"]) == ["parity"]  # it needs no labels
    for batch in (tasks[:12], tasks[12:20]):
        for task in batch:
            annotate(backend.studio, task, "parity", "size")
        backend.turn(project, prelabel="head", **own)
    report = rounds(backend, project)[-1]
    assert report.head_version.startswith("model-")
    assert report.head_version.endswith(f"+head-{report.round}")
    heads = load_heads(heads_folder(backend.settings(), project), report.round)
    assert list(heads) == ["size"]
    assert heads["size"].n_features == 5
    parity, size = report.controls
    assert parity.stability is None
    assert size.stability is not None
    (answer,) = predict(backend, project, **own)
    assert answer["model_version"] == report.head_version
    found = {item["from_name"]: item["value"] for item in answer["result"]}
    assert found["parity"] == {"choices": ["odd"]}
    assert abs(found["size"]["number"] - 3) < 6
    queued = [row for row in backend.studio.rows.values()
              if row["model_version"] == report.queue_version]  # fmt: skip
    assert all(controls_of(row["result"]) == ["parity", "size"] for row in queued)
    assert {round(row.uncertainty, 1) for row in read_queue(backend.store, project)} == {0.5}


def test_a_config_of_two_controls_says_both() -> None:
    task = parse_label_config(CONFIG)
    assert task.description == (
        "learned in part: Choices 'parity' (classification), Number 'size' (regression); "
        "not learned: TextArea 'remark' takes free text"
    )
