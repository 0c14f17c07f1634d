"""What the end-to-end tests ask of Label Studio and of the backend's state."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
from active_learn_backend.demo.backend import BackendServer
from active_learn_backend.demo.label_studio import LabelStudioServer
from active_learn_backend.demo.process import wait_until
from active_learn_backend.state.queue import read_queue
from active_learn_backend.state.round_report import RoundReport
from active_learn_backend.state.rounds import read_rounds
from active_learn_backend.state.store import Project, Store
from active_learn_backend.state.tasks import read_tasks


class Harness:
    """One connected pair of servers, seen from outside."""

    def __init__(self, label_studio: LabelStudioServer, backend: BackendServer) -> None:
        self.label_studio, self.backend = label_studio, backend
        self.api = label_studio.api

    # -- the backend's state ----------------------------------------------------------------

    @property
    def store(self) -> Store:
        return Store(f"sqlite:///{self.backend.model_dir / 'state.sqlite3'}")

    def state(self, project: int) -> Project:
        """Give the backend's state of a project."""
        store = self.store
        try:
            found = store.project(project)
            assert found is not None, f"project {project} is not registered"
            return found
        finally:
            store.close()

    def labels(self, project: int) -> dict[int, Any]:
        """Give the labels that the backend read, by task id."""
        store = self.store
        try:
            rows = read_tasks(store, project)
            return {row.task_id: row.label for row in rows if row.label is not None}
        finally:
            store.close()

    def rounds(self, project: int) -> list[RoundReport]:
        """Return the reports of all rounds, oldest first."""
        store = self.store
        try:
            return read_rounds(store, project)
        finally:
            store.close()

    def decisions(self, project: int) -> dict[int, str]:
        """Give what the stream decided, by task id."""
        store = self.store
        try:
            return {row.task_id: row.decision for row in read_tasks(store, project) if row.decision}
        finally:
            store.close()

    def audit_rows(self, project: int) -> list[int]:
        """Give the tasks of the served queue that only measure."""
        store = self.store
        try:
            return [row.task_id for row in read_queue(store, project) if row.audit]
        finally:
            store.close()

    def log(self, command: str = "serve") -> str:
        """Read the log of the backend."""
        folder: Path = self.backend.model_dir
        return folder.with_name(f"{folder.name}.{command}.log").read_text()

    def ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask the backend itself, as Label Studio does."""
        answer = httpx.post(f"{self.backend.url}{path}", json=body, timeout=60)
        answer.raise_for_status()
        return dict(answer.json())

    # -- Label Studio's side ----------------------------------------------------------------

    def connect(self, project: int, *options: str) -> str:
        """Connect a project and wait for its first queue; gives the version."""
        self.backend.run("connect", "--project", str(project), *options)
        return self.wait_queue(project)

    def project(self, project: int) -> dict[str, Any]:
        return dict(self.api("GET", f"/api/projects/{project}/"))

    def version(self, project: int) -> str:
        return self.project(project)["model_version"] or ""

    def wait_queue(self, project: int, after: int = 0, timeout: float = 60) -> str:
        """Wait until a queue later than round `after` is served and noted; gives its version."""

        def served() -> str:
            version = self.version(project)
            later = version.startswith("al-") and int(version[3:]) > after
            return version if later and self.state(project).queue_version == version else ""

        return str(wait_until(served, timeout=timeout, what=f"a queue after al-{after}"))

    def rows(self, project: int, version: str | None = None) -> list[dict[str, Any]]:
        """List stored predictions, of one version if given, by ascending score."""
        rows = self.api("GET", f"/api/predictions/?project={project}")
        mine = [row for row in rows if version in (None, row["model_version"])]
        return sorted(mine, key=lambda row: row["score"])

    def queue(self, project: int) -> list[int]:
        """Task ids of the served queue, in the order of their scores."""
        return [row["task"] for row in self.rows(project, self.version(project))]

    def annotate(self, task: int, result: Sequence[dict[str, Any]], **fields: Any) -> int:
        """Submit an annotation; gives its id."""
        body = {"result": list(result), **fields}
        return int(self.api("POST", f"/api/tasks/{task}/annotations/", body)["id"])

    def wait_labels(self, project: int, expected: dict[int, Any]) -> None:
        """Wait until the backend holds exactly these labels."""
        wait_until(
            lambda: self.labels(project) == expected,
            timeout=30,
            what=f"the labels {expected}, last seen {self.labels(project)}",
        )

    def wait_log(self, text: str, command: str = "serve") -> None:
        """Wait until the backend's log says something."""
        wait_until(lambda: text in self.log(command), timeout=30, what=f"{text!r} in the log")
