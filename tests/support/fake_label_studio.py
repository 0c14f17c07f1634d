"""A small Label Studio in memory, spoken to over HTTP: projects of texts, and their queue.

It knows what a round needs, and `next` with its locks, as Label Studio 1.23.2 does it.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fake_server import Answer, Script

__all__ = ["CONFIG", "FakeLabelStudio"]

CONFIG = (
    '<View><Text name="text" value="$text"/><Choices name="label" toName="text">'
    '<Choice value="even"/><Choice value="odd"/></Choices></View>'
)


class FakeLabelStudio(Script):
    """Projects, tasks, annotations, predictions and locks.

    Attributes
    ----------
    members : int
        People of the organization.
    before : callable
        Is called with each request's method, path and decoded body before it is answered; what it
        returns, if anything, is the answer.
    after : callable
        The same, after the request was carried out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.members = 1
        self.projects: dict[int, dict[str, Any]] = {}
        self.tasks: dict[int, dict[str, Any]] = {}
        self.rows: dict[int, dict[str, Any]] = {}
        self.locks: dict[int, str] = {}  # task -> person
        self.busy = 0  # so many actions are not counted, as where the database is locked
        self.before: Callable[[str, str, Any], Answer | None] = lambda *_: None
        self.after: Callable[[str, str, Any], Answer | None] = lambda *_: None
        self._one = threading.RLock()
        self._ids = 0
        self.answer = self._respond

    # -- what a test does ---------------------------------------------------------------------

    def add_project(self, texts: Iterable[str], config: str = CONFIG) -> int:
        project = self._new_id()
        self.projects[project] = {
            "id": project,
            "title": f"project {project}",
            "label_config": config,
            "sampling": "Sequential sampling",
            "model_version": "",
            "organization": 1,
            "maximum_annotations": 1,
        }
        for text in texts:
            self.add_task(project, text)
        return project

    def add_task(self, project: int, text: str) -> None:
        task = self._new_id()
        self.tasks[task] = {
            "id": task,
            "project": project,
            "data": {"text": text},
            "annotations": [],
            "total_annotations": 0,
            "updated_at": _now(),
        }

    def next_task(self, project: int, person: str) -> int | None:
        """Draw a task as a person does: uncertainty sampling with locks; None is a 404."""
        with self._one:
            left = [task for task in self._tasks_of(project) if not task["annotations"]]
            for task in left:
                if self.locks.get(task["id"]) == person:
                    return int(task["id"])
            version = self.projects[project]["model_version"]
            scores = {
                row["task"]: row["score"]
                for row in self.rows.values()
                if row["model_version"] == version and version
            }
            queued = sorted(
                (task for task in left if task["id"] in scores), key=lambda one: scores[one["id"]]
            )
            free = [task["id"] for task in queued or left if task["id"] not in self.locks]
            if not free:
                return None
            self.locks[free[0]] = person
            return int(free[0])

    def annotate(self, task: int, label: str) -> None:
        value = {"choices": [label]}
        self.submit(
            task, [{"from_name": "label", "to_name": "text", "type": "choices", "value": value}]
        )

    def submit(
        self, task: int, result: list[dict[str, Any]], lead_time: float | None = None
    ) -> None:
        with self._one:
            now = _now()
            self._annotate(task, result, now, updated_by=1, lead_time=lead_time)
            self.locks.pop(task, None)

    def edit(self, annotation_id: int, **values: Any) -> None:
        """Change an annotation as a person does; Label Studio names whoever did."""
        with self._one:
            task, annotation = self._annotation(annotation_id)
            annotation |= {"updated_by": 2, "updated_at": _now(), **values}
            task["updated_at"] = annotation["updated_at"]

    def versions(self, project: int) -> Counter[str]:
        """Count the stored predictions of each version."""
        mine = [row for row in self.rows.values() if row["project"] == project]
        return Counter(row["model_version"] for row in mine)

    def requests(self, method: str = "", path: str = "") -> int:
        """Count the requests so far, of a method and with a part of a path."""
        return sum(asked[0].startswith(method) and path in asked[1] for asked in list(self.asked))

    # -- how it answers -----------------------------------------------------------------------

    def _new_id(self) -> int:
        with self._one:
            self._ids += 1
            return self._ids

    def _annotate(
        self,
        task: int,
        result: list[dict[str, Any]],
        now: str,
        updated_by: int | None,
        lead_time: float | None = None,
    ) -> None:
        annotation = {
            "id": self._new_id(),
            "created_at": now,
            "updated_at": now,
            "completed_by": 1,
            "updated_by": updated_by,
            "lead_time": lead_time,
            "result": result,
        }
        self.tasks[task]["annotations"].append(annotation)
        self.tasks[task]["updated_at"] = now
        self._count(self.tasks[task])

    def _count(self, task: dict[str, Any]) -> None:
        task["total_annotations"] = len(task["annotations"])

    def _annotation(self, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return an annotation after its task."""
        return next(
            (task, one)
            for task in self.tasks.values()
            for one in task["annotations"]
            if one["id"] == number
        )

    def _tasks_of(self, project: int) -> list[dict[str, Any]]:
        return [task for task in self.tasks.values() if task["project"] == project]

    def _respond(self, method: str, path: str, _: str | None) -> Answer:
        body = json.loads(self.body or b"null")
        if spoiled := self.before(method, path, body):
            return spoiled
        with self._one:
            answer = self._do(method, urlsplit(path).path, parse_qs(urlsplit(path).query), body)
        return self.after(method, path, body) or answer

    def _do(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> Answer:
        if path == "/api/tasks/":
            return self._list_tasks(query)
        if path.startswith("/api/organizations/"):
            return _json({"count": self.members, "results": []})
        if found := re.fullmatch(r"/api/predictions/(\d+)/", path):
            return _json(None, 204 if self.rows.pop(int(found[1]), None) else 404)
        if found := re.fullmatch(r"/api/annotations/(\d+)/", path):
            task, annotation = self._annotation(int(found[1]))
            if method == "DELETE":
                self._delete_annotation(task, annotation)
            return _json(annotation)
        if path == "/api/dm/actions":
            return self._act(int(query["project"][0]), query["id"][0], body)
        found = re.fullmatch(r"/api/projects/(\d+)/(.*)", path)
        if found is None or int(found[1]) not in self.projects:
            return _json({"detail": "Not found."}, 404)
        project, rest = int(found[1]), found[2]
        if rest == "import/predictions":
            return self._import(project, body)
        if rest == "export":
            wanted = {int(number) for number in query["ids[]"]}
            mine = [task for task in self._tasks_of(project) if task["id"] in wanted]
            return _json([task for task in mine if task["annotations"]])
        if rest == "model-versions/" and method == "DELETE":
            self._delete_version(project, body["model_version"])
            return _json({})
        if rest == "model-versions/":
            return _json(dict(self.versions(project)))
        if method == "PATCH":
            return self._patch(project, body)
        tasks = self._tasks_of(project)
        annotations = sum(len(task["annotations"]) for task in tasks)
        counts = {"task_number": len(tasks), "total_annotations_number": annotations}
        counts["skipped_annotations_number"] = 0
        return _json(self.projects[project] | counts)

    def _patch(self, project: int, values: dict[str, Any]) -> Answer:
        version = values.get("model_version")
        if version and version not in self.versions(project):
            return _json({"detail": f"no predictions of {version}"}, 400)
        self.projects[project] |= values
        return _json(self.projects[project])

    def _import(self, project: int, rows: list[dict[str, Any]]) -> Answer:
        for row in rows:
            number = self._new_id()
            self.rows[number] = {"id": number, "project": project, **row}
        return _json({"created": len(rows)}, 201)

    def _delete_version(self, project: int, version: str) -> None:
        for row in list(self.rows.values()):
            if (row["project"], row["model_version"]) == (project, version):
                self._delete_prediction(row)
        if self.projects[project]["model_version"] == version:
            self.projects[project]["model_version"] = None

    def _act(self, project: int, action: str, body: dict[str, Any]) -> Answer:
        before = {number: task["total_annotations"] for number, task in self.tasks.items()}
        answer = self._do_act(project, action, body)
        if self.busy and "annotations" in action:
            self.busy -= 1
            for number, count in before.items():
                self.tasks[number]["total_annotations"] = count
            return _json({"detail": "Created 0 annotations", "processed_items": 0})
        return answer

    def _do_act(self, project: int, action: str, body: dict[str, Any]) -> Answer:
        wanted = body["selectedItems"]["included"]
        tasks = self._filtered(project, body["filters"])
        tasks = [task for task in tasks if not wanted or task["id"] in wanted]
        if action == "predictions_to_annotations":
            now, parents = _now(), {one.get("parent_prediction") for one in self._annotations()}
            rows = [row for task in tasks for row in self._predictions(task["id"])]
            rows = [row for row in rows if row["model_version"] == body["model_version"]]
            rows = [row for row in rows if row["id"] not in parents]
            for row in rows:
                self._annotate(row["task"], row["result"], now, updated_by=None)
                self.tasks[row["task"]]["annotations"][-1]["parent_prediction"] = row["id"]
            return _json({"detail": f"Created {len(rows)} annotations"})
        if action == "delete_tasks_annotations":
            gone = [(task, one) for task in tasks for one in task["annotations"]]
            for task, one in gone:
                self._delete_annotation(task, one)
            return _json({"processed_items": len(gone)})
        assert action == "delete_tasks_predictions"
        for row in [row for task in tasks for row in self._predictions(task["id"])]:
            self._delete_prediction(row)
        return _json({})

    def _delete_prediction(self, row: dict[str, Any]) -> None:
        del self.rows[row["id"]]
        for one in self._annotations():
            if one.get("parent_prediction") == row["id"]:
                one["parent_prediction"] = None

    def _annotations(self) -> list[dict[str, Any]]:
        return [one for task in self.tasks.values() for one in task["annotations"]]

    def _delete_annotation(self, task: dict[str, Any], annotation: dict[str, Any]) -> None:
        task["annotations"].remove(annotation)
        task["updated_at"] = _now()
        self._count(task)

    def _filtered(self, project: int, rules: dict[str, Any]) -> list[dict[str, Any]]:
        tasks = self._tasks_of(project)
        return [
            task
            for task in tasks
            if all(self._holds(task, rule) for rule in rules.get("items", []))
        ]

    def _list_tasks(self, query: dict[str, list[str]]) -> Answer:
        rules = json.loads(query.get("query", ["{}"])[0])
        tasks = self._filtered(int(query["project"][0]), rules.get("filters", {}))
        if rules.get("ordering"):
            tasks.sort(key=lambda task: task["updated_at"])
        size, page = int(query["page_size"][0]), int(query.get("page", ["1"])[0])
        shown = tasks[(page - 1) * size : page * size]
        if page > 1 and not shown:
            return _json({}, 404)
        full = [self._in_full(task) for task in shown]
        return _json({"tasks": full, "total": len(tasks)})

    def _in_full(self, task: dict[str, Any]) -> dict[str, Any]:
        rows = self._predictions(task["id"])
        versions = ", ".join(dict.fromkeys(row["model_version"] for row in rows))
        more = {"total_predictions": len(rows), "predictions_model_versions": versions}
        return {**task, "predictions": rows, **more}

    def _predictions(self, task: int) -> list[dict[str, Any]]:
        return [row for row in self.rows.values() if row["task"] == task]

    def _holds(self, task: dict[str, Any], rule: dict[str, Any]) -> bool:
        column = rule["filter"].removeprefix("filter:tasks:")
        predictions, value = self._predictions(task["id"]), rule["value"]
        if column == "id":
            least = rule["operator"] == "greater_or_equal"
            return bool(task["id"] >= value if least else task["id"] <= value)
        if column == "updated_at":
            late = bool(task["updated_at"] > value)
            return late if rule["operator"] == "greater" else not late
        if column == "predictions_model_versions":
            return any(part in row["model_version"] for part in value for row in predictions)
        if column == "annotations_results":
            return any(value in json.dumps(one["result"]) for one in task["annotations"])
        counts = {"total_predictions": len(predictions), "cancelled_annotations": 0}
        counts |= {"total_annotations": task["total_annotations"]}
        count = counts.get(column, len(task["annotations"]))
        if rule["operator"] == "empty":
            return count == 0
        return bool(count > value) if rule["operator"] == "greater" else bool(count == value)


def _now() -> str:
    time.sleep(1e-6)  # no two stamps are equal
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "Z"


def _json(value: Any, status: int = 200) -> Answer:
    body = b"" if status == 204 else json.dumps(value).encode()
    return status, {"Content-Type": "application/json"}, body
