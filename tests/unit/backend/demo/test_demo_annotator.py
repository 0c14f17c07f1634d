"""The simulated annotator, against a Label Studio that is a Python function."""

from __future__ import annotations

import json

import httpx
import pytest
from active_learn_backend.demo.annotator import Annotator, choice
from active_learn_backend.demo.process import ServerError


class FakeProject:
    """Serves tasks in a given order, first those that have no annotation yet."""

    def __init__(self, versions: dict[int, str | None]) -> None:
        self.open = versions
        self.submitted: list[tuple[int, dict]] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET" and request.url.path == "/api/projects/7/next":
            if not self.open:
                return httpx.Response(404, json={"detail": "no tasks"})
            task, version = next(iter(self.open.items()))
            predictions = [{"model_version": version, "score": 0.1}] if version else []
            return httpx.Response(200, json={"id": task, "predictions": predictions})
        task = int(request.url.path.split("/")[3])
        if task not in self.open:
            return httpx.Response(400, text="annotated already")
        del self.open[task]
        body = json.loads(request.content)
        self.submitted.append((task, body))
        return httpx.Response(201, json={"id": 1, **body})


def annotator(project: FakeProject) -> Annotator:
    client = httpx.Client(transport=httpx.MockTransport(project), base_url="http://label-studio")
    return Annotator(client, 7, lambda task: choice(str(task["id"] % 2)))


def test_draws_answers_and_submits_in_the_order_served():
    project = FakeProject({3: "al-2", 8: "al-2", 5: None})
    submissions = list(annotator(project).label(2))
    assert [task for task, _ in project.submitted] == [3, 8]
    assert [body["result"][0]["value"]["choices"] for _, body in project.submitted] == [
        ["1"],
        ["0"],
    ]
    assert [s.version for s in submissions] == ["al-2", "al-2"]
    assert list(project.open) == [5]


def test_labels_all_that_is_left_and_stops():
    project = FakeProject({3: None, 8: None})
    assert [s.version for s in annotator(project).label()] == [None, None]
    assert annotator(project).next_task() is None


def test_a_refused_submission_is_an_error_that_quotes_the_answer():
    someone = annotator(FakeProject({3: None}))
    with pytest.raises(
        ServerError, match=r"POST /api/tasks/4/annotations/ answered 400: annotated"
    ):
        someone.submit({"id": 4}, choice("1"))
