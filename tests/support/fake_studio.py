"""A small Label Studio that keeps its state: projects, models and webhooks."""

from __future__ import annotations

import json
from typing import Any

from fake_server import Answer, Script

__all__ = ["CONFIG", "OURS", "Studio"]

OURS = "http://backend.example:9090"  # where a backend of the tests says it is

CONFIG = (
    '<View><Text name="t" value="$text"/><Choices name="c" toName="t">'
    '<Choice value="A"/><Choice value="B"/></Choices></View>'
)


class Studio(Script):
    """Projects, models and webhooks, as far as a connection changes them."""

    def __init__(self) -> None:
        super().__init__()
        self.projects: dict[int, dict[str, Any]] = {}
        self.models: dict[int, dict[str, Any]] = {}
        self.webhooks: dict[int, dict[str, Any]] = {}
        self.rows: dict[str, int] = {}
        self.model_state = "CO"
        self.refuses_models = False
        self.fails: tuple[str, str] | None = None  # method and part of a path
        self.answer = self._respond
        self.add_project(3)

    def add_project(self, number: int, **values: Any) -> None:
        self.projects[number] = {
            "id": number,
            "label_config": CONFIG,
            "sampling": "Sequential sampling",
            "model_version": "former",
        } | values

    def add(self, table: dict[int, dict[str, Any]], **values: Any) -> dict[str, Any]:
        number = max(table, default=0) + 1
        table[number] = {"id": number, "project": 3, "headers": {}, "actions": [], **values}
        return table[number]

    def changed(self) -> list[tuple[str, str]]:
        return [(method, path) for method, path, _ in self.asked if method != "GET"]

    def _respond(self, method: str, path: str, _authorization: str | None) -> Answer:
        status, content = self._answer(method, path, json.loads(self.bodies[-1] or b"null"))
        return status, {}, json.dumps(content).encode()

    def _answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if self.fails and self.fails[0] == method and self.fails[1] in path:
            return 500, {"detail": "no"}
        where = path.split("?")[0].strip("/").split("/")[1:]
        number = int(where[1]) if len(where) > 1 and where[1].isdigit() else None
        if where[0] == "version":
            return 200, {"release": "1.23.2"}
        if where[0] == "projects" and number is None:
            return 200, {"results": list(self.projects.values()), "next": None}
        if where[-1] == "model-versions":
            if method == "DELETE":
                self.rows.pop(body["model_version"])
            return 200, dict(self.rows)
        if where[0] == "projects" and number is not None and number not in self.projects:
            return 404, {"detail": "not found"}
        if where[0] == "projects" and number is not None:
            former = body is not None and body.get("model_version") == "former"
            if former and "former" not in self.rows:
                return 400, {"detail": "no such version"}
            self.projects[number] |= body or {}
            return 200, self.projects[number]
        table = self.models if where[0] == "ml" else self.webhooks
        if method == "POST":
            made = self.add(table, **body, state=self.model_state)
            return (403, {}) if table is self.models and self.refuses_models else (201, made)
        if number is None:
            asked = int(path.rpartition("=")[2]) if "project=" in path else None
            if asked is not None and asked not in self.projects:
                return 404, {"detail": "not found"}
            return 200, [one for one in table.values() if one["project"] == asked]
        if number not in table:
            return 404, {}
        if method == "DELETE":
            del table[number]
            return 200, {}
        if method == "PATCH" and table is self.models and "url" not in body:
            return 500, {"detail": "healthcheck_() missing 1 required positional argument: 'url'"}
        table[number] |= body or {}
        return 200, table[number]
