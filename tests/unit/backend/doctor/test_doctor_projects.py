"""What the doctor says of a project: its locked tasks, its labeling runs, what it loads."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from active_learn.errors import MissingOptionalDependencyError
from active_learn_backend.decoders import process
from active_learn_backend.doctor.labeling_runs import check_labeling_runs
from active_learn_backend.doctor.models import check_model, check_usable
from active_learn_backend.doctor.open_tasks import likely_locked
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.labelstudio.client import LabelStudioClient
from active_learn_backend.settings import Settings, load_settings
from active_learn_backend.state.labeling_runs import begin
from active_learn_backend.state.store import Project, QueueRow, Store, TaskRow
from active_learn_backend.state.tasks import apply_changes
from fake_server import KEY, Script
from hypothesis import given
from hypothesis import strategies as st

CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="label" toName="text">'
    '<Choice value="positive"/><Choice value="negative"/></Choices></View>'
)


@pytest.fixture
def script() -> Iterator[Script]:
    server = Script()
    yield server
    server.close()


def settings_for(script: Script, folder: Path, **more: Any) -> Settings:
    given = {"label_studio_api_key": KEY, "model_dir": folder, "backend_url": script.url}
    return load_settings(label_studio_url=script.url, **{**given, **more})


# -- projects -------------------------------------------------------------------------------------


def task(task_id: int, label: str | None = None, *, skipped: bool = False) -> TaskRow:
    return TaskRow(task_id, {}, "", label and {"c": label}, skipped)


def row(task_id: int, rank: int) -> QueueRow:
    return QueueRow(task_id, rank, True, 0.0, 0.0)


def test_tasks_that_later_ones_have_overtaken_are_likely_locked() -> None:
    batch = [row(7, 0), row(3, 1), row(9, 2), row(1, 3), row(4, 4)]
    tasks = [task(7), task(3, "a"), task(9), task(1, skipped=True), task(4), task(5)]
    assert likely_locked(batch, tasks) == [7, 9]
    assert likely_locked(batch, [task(one.task_id) for one in batch]) == []
    assert likely_locked([], tasks) == []


@given(st.lists(st.booleans(), max_size=12))
def test_held_tasks_are_open_and_before_the_last_done(done: list[bool]) -> None:
    batch = [row(n + 1, n) for n in range(len(done))]
    tasks = [task(n + 1, "a" if one else None) for n, one in enumerate(done)]
    last = max((n for n, one in enumerate(done) if one), default=-1)
    assert likely_locked(batch, tasks) == [n + 1 for n in range(last) if not done[n]]


def a_project(store: Store, **values: Any) -> Project:
    store.register(5, CONFIG)
    store.update(5, **values)
    return store.known_project(5)


def test_labeling_runs_are_told(tmp_path: Path) -> None:
    store = Store("sqlite://")
    project = a_project(store, mode="pull")
    assert list(check_labeling_runs(store, project)) == []
    apply_changes(store, 5, [replace(task(n), run=2) for n in range(1250)])
    settings = load_settings(model_dir=tmp_path)
    begin(store, settings, 5, "annotations", [], accuracy=0.98, confidence=0.95)
    assert [str(one) for one in check_labeling_runs(store, project)] == [
        "ok: 1,250 tasks are labeled automatically by run 2",
        "warning: labeling run 3 was begun and is not finished; run `active-learn label` again, "
        "unless it is still at work, or take the run back by `active-learn unlabel --project 5 "
        "--run 3`",
    ]
    store.close()


@pytest.mark.parametrize(
    ("params", "more", "verdict", "words"),
    [
        ({}, {}, "ok", "encoder text-ngrams-1 loads"),
        ({"strategy": "nonesuch"}, {}, "wrong", "nonesuch"),
        ({}, {"encoder": "nobody/has-this"}, "warning", "nobody/has-this is not on this machine"),
        ({}, {"encoder": "/nowhere"}, "wrong", "'/nowhere'"),
        ({}, {"model": "/nowhere.onnx"}, "wrong", "'/nowhere.onnx'"),
    ],
)
def test_what_a_project_loads(
    params: dict[str, Any],
    more: dict[str, str],
    verdict: str,
    words: str,
    script: Script,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    store = Store(f"sqlite:///{tmp_path / 'state.sqlite3'}")
    project = a_project(store, params=params)
    settings = settings_for(script, tmp_path, **more)
    (finding,) = check_model(LabelStudioClient(settings), settings, project)
    assert finding.verdict.value == verdict
    assert str(finding).startswith(f"{verdict}: project 5: ")
    assert words in finding.what
    store.close()


AUDIO = CONFIG.replace("<Text ", "<Audio ")


def test_a_decoder_that_is_missing_is_named_before_a_round_needs_it(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(script, tmp_path)
    client, task = LabelStudioClient(settings), parse_label_config(AUDIO)
    assert [field.kind for field in task.fields] == ["audio"]
    assert "audio-log-mel" in check_usable(client, settings, task, {}).what
    monkeypatch.setattr(process, "find_spec", lambda _: None)
    with pytest.raises(MissingOptionalDependencyError, match=r"sampler\[media\]"):
        check_usable(client, settings, task, {})
    store = Store(f"sqlite:///{tmp_path / 'state.sqlite3'}")
    store.register(5, AUDIO)
    (finding,) = check_model(client, settings, store.known_project(5))
    store.close()
    assert finding.verdict.value == "wrong"
    assert "pip install" in finding.what


def test_a_project_of_default_settings_is_checked_without_torch(tmp_path: Path) -> None:
    code = """
import sys
from active_learn_backend.doctor.labeling_runs import check_labeling_runs
from active_learn_backend.doctor.models import check_model, check_usable
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.labelstudio.client import LabelStudioClient
from active_learn_backend.settings import load_settings
from active_learn_backend.state.store import Store

settings = load_settings()
store = Store(settings.store_url)
store.register(5)
store.update(5, label_config=sys.argv[1])
print(*check_model(LabelStudioClient(settings), settings, store.known_project(5)))
heavy = {"torch", "transformers", "onnx", "onnxruntime", "ray"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run(
        [sys.executable, "-c", code, CONFIG],
        capture_output=True,
        text=True,
        env={**os.environ, "MODEL_DIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ok: project 5: its encoder text-ngrams-1 loads")
