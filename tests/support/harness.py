"""Label Studio, the backend and its state as the end-to-end tests see them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
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

TEXT_CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="label" toName="text">'
    '<Choice value="positive"/><Choice value="negative"/></Choices></View>'
)
PATIENCE = 120.0  # seconds; a wait ends when its condition holds, a busy machine needs longer


class Harness:
    """A Label Studio and a backend that speaks to it, seen from outside.

    Parameters
    ----------
    params : mapping, optional
        Own settings of each project that `connect` connects.
    """

    def __init__(
        self,
        label_studio: LabelStudioServer,
        backend: BackendServer,
        params: Mapping[str, Any] | None = None,
    ) -> None:
        self.label_studio, self.backend = label_studio, backend
        self.api = label_studio.api
        self.params = dict(params or {})
        # A shared backend has logged other tests before.
        self._log_start = len(self._read_log("serve"))

    # -- the backend's state ----------------------------------------------------------------

    @property
    def store(self) -> Store:
        return Store(f"sqlite:///{self.backend.model_dir / 'state.sqlite3'}")

    def find(self, project: int) -> Project | None:
        """Return the backend's state of a project; None before it is connected."""
        store = self.store
        try:
            return store.project(project)
        finally:
            store.close()

    def state(self, project: int) -> Project:
        """Return the backend's state of a connected project."""
        found = self.find(project)
        assert found is not None, f"project {project} is not registered"
        return found

    def labels(self, project: int) -> dict[int, Any]:
        """Return the labels that the backend read, by task id; of one control."""
        store = self.store
        try:
            rows = read_tasks(store, project)
            return {
                row.task_id: next(iter(row.labels.values()))
                for row in rows
                if row.labels is not None
            }
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
        """Return what the stream decided, by task id."""
        store = self.store
        try:
            return {row.task_id: row.decision for row in read_tasks(store, project) if row.decision}
        finally:
            store.close()

    def audit_rows(self, project: int) -> list[int]:
        """Return the tasks of the served queue that only measure."""
        store = self.store
        try:
            return [row.task_id for row in read_queue(store, project) if row.audit]
        finally:
            store.close()

    def log(self, command: str = "serve") -> str:
        """Read what the backend logged since this harness was made."""
        text = self._read_log(command)
        return text[self._log_start :] if command == "serve" else text

    def _read_log(self, command: str) -> str:
        folder: Path = self.backend.model_dir
        log = folder.with_name(f"{folder.name}.{command}.log")
        return log.read_text() if log.exists() else ""

    def release(self) -> None:
        """Have the backend leave all projects, so that it is idle for the next test."""
        store = self.store
        try:
            for project in store.projects():
                store.update(project.id, status="disconnected", reason="its test is over")
        finally:
            store.close()

    def ask(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Send a request to the backend, as Label Studio does."""
        answer = httpx.post(f"{self.backend.url}{path}", json=body, timeout=60)
        answer.raise_for_status()
        return dict(answer.json())

    # -- Label Studio's side ----------------------------------------------------------------

    def connect(self, project: int, *options: str, **params: Any) -> str:
        """Connect a project and wait for its first queue; return the version.

        ``params`` are settings of the project's own, over those of the harness.
        """
        own = {**self.params, **params}
        settings = ("--params", json.dumps(own)) if own else ()
        self.backend.run("connect", "--project", str(project), *settings, *options)
        return self.wait_queue(project)

    def project(self, project: int) -> dict[str, Any]:
        return dict(self.api("GET", f"/api/projects/{project}/"))

    def version(self, project: int) -> str:
        return self.project(project)["model_version"] or ""

    def wait_queue(self, project: int, after: int = 0, timeout: float = PATIENCE) -> str:
        """Wait until a queue later than round `after` is served; return its version."""

        def served() -> str:
            # The state first: an answer of Label Studio takes a tenth of a second of its CPU.
            found = self.find(project)  # None while the backend asks about it
            version = found.queue_version if found else ""
            later = version.startswith("al-") and int(version[3:]) > after
            return version if later and self.version(project) == version else ""

        return str(wait_until(served, timeout=timeout, what=f"a queue after al-{after}"))

    def rows(self, project: int, version: str | None = None) -> list[dict[str, Any]]:
        """List stored predictions, of one version if given, by ascending score."""
        rows = self.api("GET", f"/api/predictions/?project={project}")
        mine = [row for row in rows if version in (None, row["model_version"])]
        return sorted(mine, key=lambda row: row["score"])

    def annotated(self, project: int) -> dict[int, int]:
        """Return how many annotations Label Studio holds of each annotated task."""
        export = self.api("GET", f"/api/projects/{project}/export?exportType=JSON")
        return {task["id"]: len(task["annotations"]) for task in export}

    def queue(self, project: int) -> list[int]:
        """Return the task ids of the served queue, in the order of their scores."""
        return [row["task"] for row in self.rows(project, self.version(project))]

    def annotate(self, task: int, result: Sequence[dict[str, Any]], **fields: Any) -> int:
        """Submit an annotation; return its id."""
        body = {"result": list(result), **fields}
        return int(self.api("POST", f"/api/tasks/{task}/annotations/", body)["id"])

    def wait_labels(self, project: int, expected: dict[int, Any]) -> None:
        """Wait until the backend holds exactly these labels."""
        try:
            wait_until(
                lambda: self.labels(project) == expected, timeout=PATIENCE, what=f"{expected}"
            )
        except TimeoutError as error:
            raise TimeoutError(f"{error}; the labels are {self.labels(project)}") from error

    def wait_annotated(self, project: int) -> None:
        """Wait until the backend knows of every annotated task."""
        wait_until(
            lambda: self.annotated(project).keys() <= self.labels(project).keys(),
            timeout=PATIENCE,
            what="all labels to be read",
        )

    def wait_round_of_all_labels(self, project: int) -> RoundReport:
        """Have the backend train on all labels now; wait for that round and its queue."""
        self.wait_annotated(project)
        n_labels = len(self.labels(project))
        store = self.store
        try:
            store.mark_changed(project, request_round=True)
        finally:
            store.close()

        def learned() -> RoundReport | None:
            last = self.rounds(project)[-1]
            return last if last.labeled == n_labels else None

        report = wait_until(learned, timeout=PATIENCE, what="a round that knows the labels")
        assert isinstance(report, RoundReport)
        self.wait_queue(project, after=report.round - 1)
        return report

    def wait_log(self, text: str, command: str = "serve") -> None:
        """Wait until the backend's log contains a text."""
        wait_until(lambda: text in self.log(command), timeout=PATIENCE, what=f"{text!r} in the log")

    def wait_one_version(self, project: int) -> None:
        """Wait until all stored predictions are of the served queue."""
        wait_until(
            lambda: {row["model_version"] for row in self.rows(project)} == {self.version(project)},
            timeout=PATIENCE,
            interval=0.5,  # Label Studio answers with all rows
            what="the rows of other queues to be removed",
        )

    def workers(self) -> list[int]:
        """Return the process ids of all workers of `serve` so far, the running one last."""
        found = re.findall(r"worker \S+/(\d+)/\w+ is ready", self._read_log("serve"))
        return [int(pid) for pid in found]
