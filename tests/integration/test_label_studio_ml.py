"""The plugin class under other hosts: label-studio-ml 1.0.9 (the real one) and 2.x (a stand-in).

The 2.x line is not on PyPI. The stand-in below does what its server was read to do.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import active_learn_backend.web.ml_backend as real
import label_studio_ml.model
import pytest
from active_learn.heads import fit_head
from active_learn_backend.learning.encoders import TextEncoder
from active_learn_backend.settings import load_settings

CONFIG = (
    '<View><Text name="t" value="$text"/><Choices name="c" toName="t">'
    '<Choice value="A"/><Choice value="B"/></Choices></View>'
)
TASKS = [{"id": 1, "data": {"text": "two pears"}}, {"id": 2, "data": {"text": "a fast car"}}]


class Base2:
    """LabelStudioMLBase of 2.x: read-only properties, a cache, and `setup` at the end."""

    _cache: dict[tuple[str, str], str] = {}

    def __init__(self, project_id: str | None = None, label_config: str | None = None) -> None:
        self.project_id = project_id or ""
        self._label_config = label_config
        self.setup()

    def setup(self) -> None: ...

    def get(self, key: str) -> str | None:
        return self._cache.get((self.project_id, key))

    def set(self, key: str, value: str) -> None:
        self._cache[self.project_id, key] = value

    def has(self, key: str) -> bool:
        return (self.project_id, key) in self._cache

    @property
    def label_config(self) -> str | None:
        return self._label_config

    @property
    def model_version(self) -> str | None:
        return self.get("model_version")


class Server2:
    """What 2.x does in /setup, /predict and /webhook with a hosted class."""

    TRAIN_EVENTS = (
        "ANNOTATION_CREATED",
        "ANNOTATION_UPDATED",
        "ANNOTATION_DELETED",
        "START_TRAINING",
    )

    def __init__(self, model_class: Callable[..., Any]) -> None:
        self._model_class = model_class

    def setup(self, data: dict[str, Any]) -> dict[str, Any]:
        project_id = data["project"].split(".", 1)[0]
        model = self._model_class(project_id, label_config=data["schema"])
        return {"model_version": model.get("model_version")}

    def predict(self, data: dict[str, Any]) -> list[dict[str, Any]]:
        params = dict(data["params"])
        context = params.pop("context", {})
        project_id = data["project"].split(".", 1)[0]
        model = self._model_class(project_id=project_id, label_config=data["label_config"])
        return list(model.predict(data["tasks"], context=context, **params))

    def webhook(self, data: dict[str, Any]) -> None:
        event = data.pop("action")
        if event not in self.TRAIN_EVENTS:
            return
        project_id = str(data["project"]["id"])
        config = data["project"]["label_config"]
        self._model_class(project_id, label_config=config).fit(event, data)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[real.Runtime]:
    monkeypatch.setenv("MODEL_DIR", str(tmp_path))
    monkeypatch.delenv("LABEL_STUDIO_API_KEY", raising=False)
    runtime = real.Runtime.open(load_settings())
    yield runtime
    runtime.store.close()


@pytest.fixture
def module_2x(environment: real.Runtime, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """Our module, loaded again on top of the 2.x base class."""
    monkeypatch.setattr(label_studio_ml.model, "LabelStudioMLBase", Base2)
    name = "active_learn_backend.web._model_under_2x"
    spec = importlib.util.spec_from_file_location(name, real.__file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    module.environment_settings.cache_clear()
    return module


def train(runtime: real.Runtime, project: int) -> None:
    texts = ["apples and pears", "pears and apples", "red cars", "fast cars"]
    head = fit_head(
        "classification",
        ["A", "B"],
        TextEncoder().encode(texts),
        ["A", "A", "B", "B"],
        round=2,
        encoder=TextEncoder.fingerprint,
    )
    assert head is not None
    head.save(runtime.settings.model_dir / "projects" / str(project) / "heads")
    runtime.store.update(project, head_round=2, head_version="head-2")


def test_2x_hosts_the_class_with_the_same_answers(
    environment: real.Runtime, module_2x: types.ModuleType
) -> None:
    server = Server2(module_2x.ActiveLearningModel)
    uid = "5.1795327219"
    assert server.setup({"project": uid, "schema": CONFIG}) == {"model_version": "head-0"}
    assert [project.id for project in environment.store.projects()] == [5]
    train(environment, 5)
    assert server.setup({"project": uid, "schema": CONFIG}) == {"model_version": "head-2"}

    params = {"login": None, "password": None, "context": None}
    request = {"tasks": TASKS, "project": uid, "label_config": CONFIG, "params": params}
    answers = server.predict(request)
    ours = real.ActiveLearningModel(uid, CONFIG, runtime=environment).predict(TASKS)
    assert answers == ours
    assert [one["result"][0]["value"]["choices"] for one in answers] == [["A"], ["B"]]

    before = environment.store.register(5).change_seq
    project = {"id": 5, "label_config": CONFIG}
    server.webhook({"action": "ANNOTATION_CREATED", "project": project, "annotation": {}})
    assert module_2x._environment_runtime().changes.flush(timeout=10)
    assert environment.store.register(5).change_seq == before + 1
    server.webhook({"action": "START_TRAINING", "project": project})
    assert environment.store.register(5).round_requested


def test_1_0_9_trains_through_process_event(
    environment: real.Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    real.environment_settings.cache_clear()
    real._environment_runtime.cache_clear()
    model = real.ActiveLearningModel(label_config=CONFIG)
    assert model.label_config == CONFIG
    environment.store.register(6)
    before = environment.store.register(6).change_seq
    data = {"project": {"id": 6}, "annotation": {}}
    model.process_event("ANNOTATION_CREATED", data, "job", {})
    assert real._environment_runtime().changes.flush(timeout=10)
    assert environment.store.register(6).change_seq == before + 1
    assert model.predict(TASKS) == [{"result": [], "score": 0.0, "model_version": "head-0"}] * 2
    real.environment_settings.cache_clear()
    real._environment_runtime.cache_clear()
