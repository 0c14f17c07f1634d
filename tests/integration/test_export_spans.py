"""`active-learn export-model` of heads of spans: the folder finds what the backend proposes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.labeling.exact_text import exact_text
from active_learn_backend.state.queue import read_queue
from active_learn_backend.web.app import create_app
from exported_folders import export, run_example
from tiny_models import WORDS, save_bert
from worker_backend import Backend

CONFIG = (
    '<View><Labels name="label" toName="text"><Label value="person"/><Label value="city"/>'
    '<Label value="group"/></Labels><Text name="text" value="$text"/></View>'
)
CONTROL = parse_label_config(CONFIG).controls[0]
CITIES = ("Oslo", "Bergen", "Turku", "Vaasa")
PEOPLE = ("Anna Berg", "Bo Dahl", "Cleo Ek")


def written(*, nested: bool) -> dict[str, list[list[Any]]]:
    """Return texts with their spans."""
    found = {}
    for at in range(36):
        city, person = CITIES[at % 4], PEOPLE[at % 3]
        group = f"University of {city}" if at % 2 else f"{city} Chess Club"
        text = f"\U0001f600 {person} of the {group}: {WORDS[at % 11]} {at}"
        names = [(group, "group"), (person, "person")] + [(city, "city")] * nested
        found[text] = sorted([text.index(a), text.index(a) + len(a), b] for a, b in names)
    return found


@pytest.mark.parametrize(("nested", "encoder"), [(False, False), (True, False), (False, True)])
def test_the_folder_finds_what_the_backend_proposes(
    backend: Backend, tmp_path: Path, nested: bool, encoder: bool
) -> None:
    truth = written(nested=nested)
    project = backend.studio.add_project(truth, CONFIG)
    backend.store.register(project)
    settings: dict[str, Any] = {"budget": 20}
    options: list[str] = []
    if encoder:
        settings["encoder"] = str(save_bert(backend.folder / "models" / "tiny"))
        options = ["--encoder", settings["encoder"]]
    backend.store.update(project, mode="pull")
    backend.turn(project, **settings)
    early = export(backend, project, tmp_path / "out", *options)
    assert early.exit_code == 1
    assert "no trained head of regions" in early.output
    for row in read_queue(backend.store, project)[:20]:
        text = backend.studio.tasks[row.task_id]["data"]["text"]
        backend.studio.submit(row.task_id, CONTROL.write(truth[text]))
    backend.turn(project, **settings)
    done = export(backend, project, tmp_path / "out", *options)
    assert done.exit_code == 0, done.output
    assert "'label' is written to" in done.output
    assert "on 36 tasks it answers as the backend does" in done.output

    files = {one.name for one in (tmp_path / "out").iterdir()}
    assert files >= {"README.md", "example.py", "head.json", "head.safetensors", "words.py"}
    assert ("encoder" in files) is encoder
    for file in (tmp_path / "out").glob("*.py"):
        assert "active_learn" not in file.read_text()
    if encoder:  # the command itself has compared them; to load a model again takes seconds
        return

    texts = [*truth, "nothing", "", "\ud800 Anna Berg"]
    found = run_example(tmp_path / "out", "-", given=texts)
    client = create_app(backend.settings(**settings)).test_client()
    sent = [{"id": at, "data": {"text": text}} for at, text in enumerate(texts, 1)]
    answers = client.post("/predict", json={"tasks": sent, "project": str(project)}).json
    for text, spans, answer in zip(texts, found, answers["results"], strict=True):
        expected = [
            (one["value"]["start"], one["value"]["end"], *one["value"]["labels"])
            for one in answer["result"]
        ]
        assert [(one["start"], one["end"], one["label"]) for one in spans] == expected
        assert all(one["text"] == text[one["start"] : one["end"]] for one in spans)
        scores = [one["score"] for one in answer["result"]]
        assert [one["score"] for one in spans] == pytest.approx(scores, abs=1e-5)
    assert sum(map(len, found)) > 36
    (first, *_) = truth
    assert run_example(tmp_path / "out", first) == found[0]


@pytest.mark.parametrize("tag", ["HyperText", "Paragraphs"])
def test_spans_of_html_and_dialogues_are_exported(
    backend: Backend, tmp_path: Path, tag: str
) -> None:
    name = {"HyperText": "HyperTextLabels", "Paragraphs": "ParagraphLabels"}[tag]
    config = CONFIG.replace("Labels", name).replace("<Text", f"<{tag}")
    (control,) = parse_label_config(config).regions
    (field,) = parse_label_config(config).fields
    project = backend.studio.add_project({}, config)
    for text, spans in written(nested=True).items():
        content = f"<p>\n {text}</p>"
        if tag == "Paragraphs":
            content = json.dumps([["a", "hi"], ["b", text]])
        exact = exact_text(content, field.markup)
        at = exact.text.index(text)
        places = [
            (*exact.places(np.array([start, end]) + at).tolist(), label)
            for start, end, label in spans
        ]
        shown: Any = content
        if tag == "Paragraphs":
            shown = [{"author": who, "text": said} for who, said in json.loads(content)]
        backend.studio.add_task(project, shown)
        backend.studio.submit(max(backend.studio.tasks), control.write(places))
    backend.store.register(project)
    backend.store.update(project, mode="pull")
    backend.turn(project, budget=5)
    done = export(backend, project, tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "on 36 tasks it answers as the backend does" in done.output
    (span, *_) = run_example(tmp_path / "out", content)
    expected = control.payload(*places[0][:2], content)
    if tag == "HyperText":
        expected = {**expected["globalOffsets"], "text": expected["text"]}
    assert {key: span[key] for key in expected} == expected
