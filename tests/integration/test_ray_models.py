"""A team's own model on a real Ray of this machine: it is sent, and it has versions."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from active_learn import ActiveSampler, LinearHead
from active_learn.errors import ModelError
from active_learn_backend.demo.process import wait_until
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.learning.embedding.embedder import TaskEmbedder
from active_learn_backend.learning.engines.base import Failures, ProjectTasks
from active_learn_backend.learning.engines.configured import configured_engine
from active_learn_backend.learning.engines.ray.driver import ray_driver
from active_learn_backend.state.model_versions import read_refusal, read_versions
from active_learn_backend.state.task_table import read_task_table
from fake_label_studio import CONFIG, FakeLabelStudio
from tiny_models import save_pattern_model
from worker_backend import Backend

pytest.importorskip("ray", reason="needs Ray (the extra [ray])")

PATIENCE = 90.0  # an encoder of the cluster takes seconds to start
LABELS = ("even", "odd")
EVEN = r"number \d*[02468] of \d+"
TASK = parse_label_config(CONFIG)
ON_RAY = {"engine": "ray", "device": "cpu", "retrain_every": 1000}
# A model that does not go on, once it began on tasks, before it may.
FACTORY = """
import time
from pathlib import Path
import torch

HERE = Path(__file__).parent


def make(labels):
    torch.manual_seed(0)
    return torch.nn.Linear(4, 2), prepare


def prepare(contents):
    if contents[0]["text"].startswith("wrong"):
        return torch.rand(len(contents), 3)
    if contents[0]["text"].startswith("number"):
        (HERE / "begun").touch()
        while not (HERE / "may_go_on").exists():
            time.sleep(0.02)
    return torch.rand(len(contents), 4)
"""


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state folder for the module, whose one driver all its tests share; and the factory."""
    folder = tmp_path_factory.mktemp("ray-models")
    (folder / "held_model.py").write_text(FACTORY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        patch.syspath_prepend(folder)
        yield folder
        ray_driver("", folder.resolve() / "ray.log").stop()


@pytest.fixture
def backend(studio: FakeLabelStudio, base: Path) -> Iterator[Backend]:
    made = Backend(studio, base)
    yield made
    made.store.close()


def take(model: Path, target: Path) -> None:
    """Put a model in the place of another, as a deployment does."""
    for suffix in (".json", ""):
        shutil.copy(f"{model}{suffix}", f"{target}{suffix}")


def pages_read(studio: FakeLabelStudio) -> int:
    """Count the pages that the cluster read; the backend itself never asks for a range of ids."""
    return studio.requests("GET", "greater_or_equal")


class Project:
    """A project on Ray, and what is served of it."""

    def __init__(self, backend: Backend, count: int, **values: object) -> None:
        self.backend, self.studio = backend, backend.studio
        self.values = {**ON_RAY, **values}
        self.number = backend.add_project(count)
        self.settings = backend.settings(**self.values)

    def wait_served(self, number: int) -> set[tuple[str, str]]:
        """Wait for the queue of a version; return what it answers for even and odd numbers."""

        def served() -> bool:
            state = self.backend.store.known_project(self.number)
            ours = self.studio.projects[self.number]["model_version"] == state.queue_version
            return state.served_model == number and ours and not state.round_requested

        wait_until(served, timeout=PATIENCE, what=f"version {number} to serve")
        version = self.studio.projects[self.number]["model_version"]
        rows = [one for one in self.studio.rows.values() if one["model_version"] == version]
        texts = [self.studio.tasks[row["task"]]["data"]["text"] for row in rows]
        return {
            (LABELS[int(text.split()[1]) % 2], row["result"][0]["value"]["choices"][0])
            for text, row in zip(texts, rows, strict=True)
        }

    def add_tasks(self, count: int) -> None:
        """Add tasks, and wait until the worker has read them."""
        for n in range(count):
            self.studio.add_task(self.number, f"number {n} of {n + 1000}")
        of_all = len(self.studio.tasks)

        def known() -> bool:
            return len(read_task_table(self.backend.store, self.number).ids) == of_all

        wait_until(known, timeout=PATIENCE, what="the new tasks")

    def pages_read(self) -> int:
        """Count what the cluster read; the backend itself asks for no range of ids."""
        return self.studio.requests("GET", "greater_or_equal")

    def embedder(self) -> TaskEmbedder:
        return TaskEmbedder(self.settings, self.number, TASK, lambda _: b"")

    def file_of_tasks(self, folder: Path) -> tuple[Path, list[str]]:
        """Return its tasks as a file, and their keys."""
        mine = [one for one in self.studio.tasks.values() if one["project"] == self.number]
        contents = [one["data"] for one in mine]
        path = folder / f"{self.number}.jsonl"
        path.write_text("".join(json.dumps({"data": one}) + "\n" for one in contents))
        return path, [TASK.content_key(TASK.content(one)) for one in contents]


class Patience:
    """A report of progress that ends what takes too long."""

    def __init__(self) -> None:
        self._until = time.monotonic() + PATIENCE

    def __call__(self, done: int, of: int) -> None:
        assert time.monotonic() < self._until, "there was no room on the cluster"


def test_a_changed_model_is_the_version_of_the_next_round_and_a_broken_one_is_not(
    backend: Backend, tmp_path: Path
) -> None:
    """No label is needed: a round follows the embedding on the cluster."""
    made = {
        name: save_pattern_model(tmp_path / name / "m.onnx", pattern, LABELS)
        for name, pattern in (("all", ".*"), ("even", EVEN))
    }
    path = tmp_path / "team" / "m.onnx"
    path.parent.mkdir()
    take(made["all"], path)
    project = Project(backend, 60, model=str(path))  # so few are embedded here
    with backend.worker(**project.values):
        assert project.wait_served(1) == {("even", "even"), ("odd", "even")}
        project.add_tasks(40)
        assert project.pages_read() == 0
        take(made["even"], path)
        assert project.wait_served(2) == {("even", "even"), ("odd", "odd")}
        assert project.pages_read() > 0
        path.write_bytes(b"half of a file")
        refused = wait_until(
            lambda: read_refusal(project.settings, project.number),
            timeout=PATIENCE,
            what="the refusal",
        )
    assert "is no ONNX model" in refused.reason
    state = backend.store.known_project(project.number)
    even, _ = read_versions(project.settings, project.number)
    assert (state.served_model, state.model_version, state.last_error) == (2, even.name, "")


def encoders(base: Path) -> list[int]:
    """Return the processes of encoders, as Ray names them, of this module's Ray."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if (
                entry.name.isdigit()
                and "ray::MapWorker" in (entry / "cmdline").read_text()
                and str(base).encode() in (entry / "environ").read_bytes()
            ):
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


@pytest.mark.soak
def test_encoders_get_the_model_and_need_not_see_its_files(
    backend: Backend, base: Path, tmp_path: Path
) -> None:
    """Neither does one that takes the place of an encoder that is lost."""
    path = save_pattern_model(tmp_path / "here" / "m.onnx", EVEN, LABELS)
    project = Project(backend, 100, model=str(path), ray_workers=1)
    cached = project.embedder()
    file, keys = project.file_of_tasks(tmp_path)
    killed: list[int] = []

    def lose(done: int, _: int) -> None:
        if not killed and (there := encoders(base)):
            shutil.rmtree(path.parent, ignore_errors=True)
            os.kill(there[0], signal.SIGKILL)
            killed.append(there[0])

    engine = configured_engine(project.settings)
    assert engine.fill_from_files(cached, CONFIG, [file], lose) == {}
    assert len(killed) == 1
    assert not path.exists()
    assert cached.cache.missing(keys) == []
    assert not list(Path(tempfile.gettempdir()).glob(f"active-learn-model-{killed[0]}-*"))


@pytest.mark.soak
def test_a_model_that_fails_there_on_all_tasks_is_at_fault_itself(
    backend: Backend, tmp_path: Path
) -> None:
    project = Project(backend, 0, model="held_model:make", model_use="encoder")
    for n in range(100):
        backend.studio.add_task(project.number, f"wrong {n}")
    file, _ = project.file_of_tasks(tmp_path)
    engine = configured_engine(project.settings)
    with pytest.raises(ModelError, match="shape"):
        engine.fill_from_files(project.embedder(), CONFIG, [file], Patience())


@pytest.mark.soak
def test_rounds_find_room_on_the_cluster_beside_a_model_that_is_embedded(
    backend: Backend, base: Path, tmp_path: Path
) -> None:
    held = Project(backend, 2500, model="held_model:make", model_use="encoder")
    backend.turn(held.number)  # reads its tasks
    tasks = read_task_table(backend.store, held.number)
    of_project = ProjectTasks(
        backend.store.known_project(held.number), tasks.ids, tasks.keys, backend.store
    )
    engine, cached = configured_engine(held.settings), held.embedder()
    failed: list[Failures] = []
    thread = threading.Thread(
        target=lambda: failed.append(
            engine.fill(cached, of_project, Patience(), in_background=True)
        )
    )
    thread.start()
    try:
        wait_until((base / "begun").exists, timeout=PATIENCE, what="the embedding")
        other = Project(backend, 1200, partition_rows=1000)
        file, keys = other.file_of_tasks(tmp_path)
        ready = other.embedder()
        rounds = configured_engine(other.settings)
        assert rounds.fill_from_files(ready, CONFIG, [file], Patience()) == {}
        vectors = rounds.vectors(ready, keys)
        head = LinearHead(np.random.default_rng(0).normal(size=(2, ready.n_features)))
        sampler = ActiveSampler("classification", head, 5, labeled_data=vectors[np.arange(10)])
        assert len(rounds.rank(sampler, vectors, np.arange(10, 1200), 5).indices) == 5
        assert thread.is_alive()
        assert failed == []
    finally:
        (base / "may_go_on").touch()
        thread.join(PATIENCE)
    assert failed == [{}]
