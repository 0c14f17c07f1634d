"""Several web processes and several workers on one PostgreSQL see one state."""

from __future__ import annotations

from collections.abc import Callable

from active_learn_backend.demo.annotator import choice
from active_learn_backend.demo.backend import BackendServer
from active_learn_backend.demo.label_studio import LabelStudioServer
from active_learn_backend.demo.process import wait_until
from active_learn_backend.state.store import Store
from harness import Harness

SETTINGS = {"BUDGET": "4", "RESERVE": "3", "RETRAIN_EVERY": "3", "POLL_INTERVAL": "1"}


class PostgresHarness(Harness):
    """The harness, with its state in PostgreSQL."""

    url = ""

    @property
    def store(self) -> Store:
        return Store(self.url)


def test_two_web_processes_and_two_workers_on_postgresql(
    backend: Callable[..., BackendServer],
    label_studio: LabelStudioServer,
    make_text_project: Callable[..., tuple[int, list[int]]],
    postgresql_url: str,
) -> None:
    projects = [make_text_project([f"text number {n}" for n in range(30)]) for _ in range(2)]
    server = backend(**SETTINGS, DATABASE_URL=postgresql_url, WEB_PROCESSES="2")
    harness = PostgresHarness(label_studio, server)
    harness.url = postgresql_url
    server.server("worker").start()
    wait_until(lambda: "is ready" in harness.log("worker"), timeout=60, what="a second worker")
    versions = {project: harness.connect(project) for project, _ in projects}
    given: dict[int, dict[int, str]] = {project: {} for project, _ in projects}
    for turn in range(3):
        for project, _ in projects:
            tasks = [task for task in harness.queue(project) if task not in given[project]][:3]
            for task in tasks:
                label = ("positive", "negative")[(task + turn) % 2]
                harness.annotate(task, choice(label, "label", "text"))
                given[project][task] = label
        for project, _ in projects:
            versions[project] = harness.wait_queue(project, after=int(versions[project][3:]))
            harness.wait_labels(project, given[project])
    for project, tasks in projects:
        rounds = [report.round for report in harness.rounds(project)]
        assert len(set(rounds)) == len(rounds) >= 4
        head = harness.state(project).head_version
        asked = {
            "tasks": [{"id": tasks[0], "data": {"text": "text number 3"}}],
            "project": str(project),
            "label_config": harness.project(project)["label_config"],
        }
        # Whichever web process answers, it is the newest head that does.
        seen = {harness.ask("/predict", asked)["model_version"] for _ in range(12)}
        assert seen == {head}
    assert not (server.model_dir / "state.sqlite3").exists()
