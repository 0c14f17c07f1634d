"""`active-learn export-model` of heads of spans: the folder finds what the backend proposes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from active_learn_backend.cli.main import main
from active_learn_backend.errors import SettingsError
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.learning.export.span_files import check_spans
from active_learn_backend.state.queue import read_queue
from active_learn_backend.web.app import create_app
from click.testing import CliRunner, Result
from fake_server import KEY
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


def export(backend: Backend, project: int, folder: Path, *options: str) -> Result:
    environment = {
        "LABEL_STUDIO_URL": backend.studio.url, "MODEL_DIR": str(backend.folder),
        "LABEL_STUDIO_API_KEY": KEY,
    }  # fmt: skip
    command = ["export-model", "--project", str(project), str(folder), *options]
    return CliRunner().invoke(main, command, env=environment)


def run_example(folder: Path, *arguments: str, given: Any = None) -> Any:
    """Run the example where our packages cannot be imported."""
    blocked = folder.parent / "blocked"
    for name in ("active_learn", "active_learn_backend"):
        (blocked / name).mkdir(parents=True, exist_ok=True)
        (blocked / name / "__init__.py").write_text("raise ImportError('not without us')")
    command = [sys.executable, str(folder / "example.py"), *arguments]
    done = subprocess.run(
        command,
        input=json.dumps(given),
        text=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(blocked)},
        check=True,
    )
    return json.loads(done.stdout)


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


def test_spans_of_html_are_refused(tmp_path: Path) -> None:
    config = CONFIG.replace("<Text", "<HyperText").replace("Labels", "HyperTextLabels")
    task = parse_label_config(config)
    source: Any = None
    with pytest.raises(SettingsError, match="only those of <Labels> on <Text> are"):
        check_spans(task.regions[0], task.fields[0], source)
