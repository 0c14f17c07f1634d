"""A project whose spans are labeled: they are read, learned, proposed, and measured."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from active_learn import ActiveSampler, PooledTasks
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.labeling.exact_text import exact_text
from active_learn_backend.labelstudio.content_loader import ContentLoader
from active_learn_backend.learning.quality.stopping import advise
from active_learn_backend.learning.selection.project_params import check_params
from active_learn_backend.state.folders import stream_folder
from active_learn_backend.state.queue import read_queue
from active_learn_backend.state.rounds import last_round, read_rounds
from active_learn_backend.state.tasks import read_tasks
from active_learn_backend.web.app import create_app
from active_learn_backend.web.change_buffer import ChangeBuffer
from active_learn_backend.web.ml_backend import ActiveLearningModel, Runtime
from active_learn_backend.web.project_secrets import ProjectSecrets
from fake_label_studio import FakeLabelStudio
from worker_backend import Backend

CONFIG = (
    '<View><Labels name="label" toName="text"><Label value="person"/><Label value="city"/></Labels>'
    '<Text name="text" value="$text"/></View>'
)
PEOPLE = ("Anna Berg", "Bo Dahl", "Cleo Ek", "Dan Falk", "Eva Grund", "Finn Holm")
CITIES = ("Oslo", "Bergen", "Turku", "Malmo", "Aarhus", "Vaasa")
CONTROL = parse_label_config(CONFIG).controls[0]


def texts(count: int, seed: int = 1) -> list[str]:
    """Texts of people in cities, each with an emoji before; every fifth is about the weather."""
    draw = random.Random(seed)
    found = []
    for n in range(count):
        person, city = draw.choice(PEOPLE), draw.choice(CITIES)
        if n % 5 == 4:
            found.append(f"\U0001f327\ufe0f no news today, {n} mm of rain are expected")
        else:
            found.append(f"\U0001f600 in {city} we met {person} again, number {n}")
    return found


def spans(text: str) -> list[list[Any]]:
    """The right answer of a text."""
    named = [(name, "person") for name in PEOPLE] + [(name, "city") for name in CITIES]
    return sorted(
        [text.index(name), text.index(name) + len(name), label]
        for name, label in named
        if name in text
    )


def annotate(studio: FakeLabelStudio, task: int) -> None:
    studio.submit(task, CONTROL.write(spans(studio.tasks[task]["data"]["text"])))


@pytest.fixture
def project(backend: Backend, studio: FakeLabelStudio) -> int:
    project = studio.add_project(texts(60), CONFIG)
    backend.store.register(project)
    backend.store.update(project, mode="pull")
    return project


def test_spans_are_learned_and_proposed_where_they_stand(
    backend: Backend, studio: FakeLabelStudio, project: int
) -> None:
    backend.turn(project)
    queue = read_queue(backend.store, project)
    assert len(queue) == 7
    for row in queue:
        annotate(studio, row.task_id)
    labels = {row.task_id: row.labels for row in read_tasks(backend.store, project)}
    backend.turn(project)
    labels = {row.task_id: row.labels for row in read_tasks(backend.store, project)}
    for row in queue:
        text = studio.tasks[row.task_id]["data"]["text"]
        assert labels[row.task_id] == {"label": spans(text)}
    report = last_round(backend.store, project)
    assert report is not None
    assert report.head_version == "head-2"
    proposed = [row for row in studio.rows.values() if row["model_version"] == "al-2"]
    assert len(proposed) == 7
    for row in proposed:
        text = studio.tasks[row["task"]]["data"]["text"]
        for item in row["result"]:
            value = item["value"]
            assert value["text"] == text[value["start"] : value["end"]]
            assert 0 < item["score"] <= 1
    right = sum(
        CONTROL.read(row["result"]) == spans(studio.tasks[row["task"]]["data"]["text"])
        for row in proposed
    )
    assert right >= 3


def test_the_first_texts_are_drawn_by_chance_until_there_is_a_head(
    backend: Backend, studio: FakeLabelStudio
) -> None:
    """Means of hashed words would put short texts first, which teach little."""
    few = [f"short {n}" for n in range(15)]
    project = studio.add_project([*few, *texts(45)], CONFIG)
    backend.store.register(project)
    backend.store.update(project, mode="pull")

    def queue(**options: Any) -> list[int]:
        backend.turn(project, audit=0.0, budget=15, **options)
        return [row.task_id for row in read_queue(backend.store, project)]

    tasks = sorted(studio.tasks)
    at_random = ActiveSampler("tagging", None, 15, strategy="random", random_state=0)
    order = at_random.rank(PooledTasks(np.ones((60, 2)), np.ones(60), np.ones(60))).indices
    first = queue()
    assert first == [tasks[at] for at in order[: len(first)]]
    for task in first[:15]:
        annotate(studio, task)
    left = [task for task in tasks if task not in first[:15]]
    later = queue()
    again = at_random.rank(PooledTasks(np.ones((45, 2)), np.ones(45), np.ones(45))).indices
    assert later != [left[at] for at in again[: len(later)]]


def test_audit_tasks_measure_the_f1_of_entities(
    backend: Backend, studio: FakeLabelStudio, project: int
) -> None:
    for _ in range(5):
        backend.turn(project, audit=0.4, budget=8)
        for row in read_queue(backend.store, project)[:8]:
            if row.audit:  # nothing influences who measures
                shown = [one for one in studio.rows.values() if one["task"] == row.task_id]
                assert all(one["result"] == [] for one in shown)
            annotate(studio, row.task_id)
    backend.turn(project, audit=0.4, budget=8)
    report = last_round(backend.store, project)
    assert report is not None
    (found,) = report.controls
    assert found.regions
    assert found.evaluation.audit is not None
    assert found.evaluation.audit.metric == "entity F1"
    assert found.evaluation.audit.n == found.audit >= 10
    assert found.evaluation.audit.low <= found.evaluation.audit.value > 0.6
    assert found.stability is not None
    assert found.stability.agreement is not None
    assert 0.5 < found.stability.agreement.agreement <= 1
    advice = advise(read_rounds(backend.store, project))
    assert {one.control for one in advice} == {"label"}


def test_live_answers_and_the_page_show_spans(
    backend: Backend, studio: FakeLabelStudio, project: int
) -> None:
    backend.turn(project)
    for row in read_queue(backend.store, project):
        annotate(studio, row.task_id)
    backend.turn(project)
    settings = backend.settings()
    text = "\U0001f600 in Oslo we met Anna Berg again"
    client, store = backend.client(settings), backend.store
    parts = (ChangeBuffer(store), client, ContentLoader(settings, client), ProjectSecrets(store))
    model = ActiveLearningModel(str(project), CONFIG, runtime=Runtime(settings, store, *parts))
    (answer,) = model.predict([{"id": 1, "data": {"text": text}}])
    client.close()
    assert CONTROL.read(answer["result"]) == spans(text)
    assert {item["value"]["text"] for item in answer["result"]} == {"Oslo", "Anna Berg"}
    page = create_app(settings).test_client()
    path = f"/projects/{project}"
    html = page.get(path, headers={"Accept": "text/html"}).text
    assert "words unsure" in html
    assert "<mark>" in html
    status = page.get(f"{path}.json").get_json()
    (control,) = status["controls"]
    assert dict(control["balance"])["person"] > 0
    proposal = status["queue"][0]["proposals"][0]
    shown = "".join(piece["text"] for piece in proposal["pieces"])
    task = status["queue"][0]["task_id"]
    assert shown == studio.tasks[task]["data"]["text"]


def test_a_class_and_spans_of_one_text_are_learned_together(
    backend: Backend, studio: FakeLabelStudio
) -> None:
    choices = (
        '<Choices name="about" toName="text"><Choice value="people"/><Choice value="weather"/>'
        "</Choices></View>"
    )
    project = studio.add_project(texts(40), CONFIG.replace("</View>", choices))
    backend.store.register(project)
    backend.store.update(project, mode="pull")
    about = parse_label_config(CONFIG.replace("</View>", choices)).controls[1]
    backend.turn(project, budget=12)
    for row in read_queue(backend.store, project):
        text = studio.tasks[row.task_id]["data"]["text"]
        kind = "people" if spans(text) else "weather"
        studio.submit(row.task_id, CONTROL.write(spans(text)) + about.write(kind))
    backend.turn(project, budget=12, prelabel="head")
    report = last_round(backend.store, project)
    assert report is not None
    assert [one.control for one in report.controls] == ["label", "about"]
    rows = [row for row in studio.rows.values() if row["model_version"] == "al-2"]
    for row in rows:
        assert about.read(row["result"]) in ("people", "weather")
    assert any(CONTROL.read(row["result"]) for row in rows)


def test_a_stream_decides_on_tasks_as_they_come(
    backend: Backend, studio: FakeLabelStudio, project: int
) -> None:
    """Round after round under another head, with 300 tasks in the end: a fifth is kept."""
    check_params(backend.settings(), parse_label_config(CONFIG), {"budget": "0.2"})
    options = {"budget": 0.2, "audit": 0.0}
    folder = stream_folder(backend.settings(), project)
    decided: dict[int, str | None] = {}
    for number in range(3):
        backend.turn(project, **options)
        rows = read_tasks(backend.store, project)
        assert {row.decision for row in rows} <= {"kept", "passed"}
        now = {row.task_id: row.decision for row in rows}
        assert {task: now[task] for task in decided} == decided  # for good
        decided = now
        kept = {task for task, decision in decided.items() if decision == "kept"}
        labeled = {row.task_id for row in rows if row.labels is not None}
        queue = {row.task_id for row in read_queue(backend.store, project)}
        assert queue
        assert queue <= kept - labeled
        counts = json.loads(next(folder.glob("*.json")).read_text())
        assert counts == {"seen": len(decided), "kept": len(kept)}
        for task in queue:
            annotate(studio, task)
        for text in texts(120, seed=number + 2):
            studio.add_task(project, text)
    report = last_round(backend.store, project)
    assert report is not None
    assert report.head_version == "head-3"
    assert 0.14 < len(kept) / len(decided) < 0.26


OBJECTS: dict[str, Callable[[str], Any]] = {
    "HyperText": lambda text: f"<p>{text.replace(' we ', '<br/>we </p><p>')}</p>",
    "Paragraphs": lambda text: [
        {"author": "a", "text": "\U0001f600 hello"},
        {"author": "b", "text": text},
    ],
}


@pytest.mark.parametrize("tag", OBJECTS)
def test_spans_of_html_and_dialogues_are_learned(
    backend: Backend, studio: FakeLabelStudio, tag: str
) -> None:
    name = {"HyperText": "HyperTextLabels", "Paragraphs": "ParagraphLabels"}[tag]
    config = CONFIG.replace("<Text", f"<{tag}").replace("Labels", name)
    control = parse_label_config(config).regions[0]
    project = studio.add_project(texts(40), config)
    for task in studio.tasks.values():
        task["data"]["text"] = OBJECTS[tag](task["data"]["text"])
    backend.store.register(project)
    backend.store.update(project, mode="pull")

    def answer(task: int) -> list[list[Any]]:
        """The right answer, counted as the tag does."""
        labeling = parse_label_config(config)
        content = labeling.content(studio.tasks[task]["data"])["text"]
        text = exact_text(content, labeling.fields[0].markup)
        flat = spans(text.text)
        places = text.places(np.array([one[:2] for one in flat], np.int64).reshape(-1, 2))
        return [[*place, one[2]] for place, one in zip(places.tolist(), flat, strict=True)]

    backend.turn(project, budget=12)
    for row in read_queue(backend.store, project):
        studio.submit(row.task_id, control.write(answer(row.task_id)))
    backend.turn(project, budget=12)
    rows = [row for row in studio.rows.values() if row["model_version"] == "al-2"]
    right = [control.read(row["result"]) == answer(row["task"]) for row in rows]
    assert sum(right) >= 0.6 * len(right) > 0
    said = {item["value"]["text"] for row in rows for item in row["result"]}
    assert said
    assert said <= {*PEOPLE, *CITIES}


def test_spans_that_look_wrong_are_listed_until_they_are_put_right(
    backend: Backend, studio: FakeLabelStudio, project: int
) -> None:
    backend.turn(project, budget=40)
    rows = read_queue(backend.store, project)[:40]
    wrong = next(row.task_id for row in rows if spans(studio.tasks[row.task_id]["data"]["text"]))
    text = studio.tasks[wrong]["data"]["text"]
    missing, *rest = spans(text)
    for row in rows:
        if row.task_id == wrong:
            studio.submit(wrong, CONTROL.write(rest))
        else:
            annotate(studio, row.task_id)
    backend.turn(project, budget=40)
    report = last_round(backend.store, project)
    assert report is not None
    found = {(one.task_id, one.label): one.suggested for one in report.controls[0].label_errors}
    name = text[missing[0] : missing[1]]
    assert found[wrong, f"{name}: not marked"] == missing[2]
    assert len(found) <= 3
    (annotation,) = studio.tasks[wrong]["annotations"]
    studio.edit(annotation["id"], result=CONTROL.write(spans(text)))
    backend.store.update(project, request_round=True)
    backend.turn(project, budget=40)
    report = last_round(backend.store, project)
    assert report is not None
    assert wrong not in {one.task_id for one in report.controls[0].label_errors}


def test_spans_within_spans_are_learned_and_proposed(
    backend: Backend, studio: FakeLabelStudio
) -> None:
    config = CONFIG.replace('<Label value="city"/>', '<Label value="city"/><Label value="group"/>')
    control = parse_label_config(config).controls[0]
    written = {}
    for at in range(36):
        city, person = CITIES[at % 6], PEOPLE[at // 6 % 6]
        group = f"University of {city}" if at % 2 else f"{city} Chess Club"
        text = f"{person} of the {group}, {at}"
        found = [(group, "group"), (city, "city"), (person, "person")]
        written[text] = sorted([text.index(a), text.index(a) + len(a), b] for a, b in found)
    project = studio.add_project(written, config)
    backend.store.register(project)
    backend.store.update(project, mode="pull")
    settings: dict[str, Any] = {"budget": 12, "prelabel": "head", "audit": 0.3}
    for _ in range(2):
        backend.turn(project, **settings)
        for row in read_queue(backend.store, project)[:12]:
            truth = written[studio.tasks[row.task_id]["data"]["text"]]
            studio.submit(row.task_id, control.write(truth))
    backend.turn(project, **settings)
    rows = [row for row in studio.rows.values() if row["model_version"] == "al-3"]
    shown = [row for row in rows if row["result"]]
    right = [
        control.read(row["result"]) == written[studio.tasks[row["task"]]["data"]["text"]]
        for row in shown
    ]
    assert sum(right) >= 0.6 * len(right) > 0
    report = last_round(backend.store, project)
    assert report is not None
    assert report.controls[0].stability is not None
    page = create_app(backend.settings()).test_client()
    html = page.get(f"/projects/{project}", headers={"Accept": "text/html"}).text
    assert "group + city" in html
