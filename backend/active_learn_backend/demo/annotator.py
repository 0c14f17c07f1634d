"""A simulated annotator: draws the next task, answers from the truth, submits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from .process import ServerError

__all__ = ["Annotator", "Submission", "choice"]

Task = dict[str, Any]
Result = list[dict[str, Any]]


@dataclass(frozen=True)
class Submission:
    """One submitted annotation.

    Attributes
    ----------
    task : dict
        The task as Label Studio served it.
    result : list of dict
        The annotation's result.
    version : str or None
        Version of the queue that the task was served from; None if it was in no queue.
    waited : float
        Seconds that Label Studio took to serve the task and to take the annotation.
    """

    task: Task
    result: Result
    version: str | None
    waited: float


def choice(label: str, from_name: str = "label", to_name: str = "image") -> Result:
    """Return the result of an annotation that chooses ``label``."""
    value = {"choices": [label]}
    return [{"from_name": from_name, "to_name": to_name, "type": "choices", "value": value}]


class Annotator:
    """One person at work on one project.

    Parameters
    ----------
    client : httpx.Client
        Speaks for the person, e.g. ``server.client(user.token)``.
    project : int
        Id of the project.
    answer : callable
        Takes a task, returns the result that this person submits.
    think : float
        Seconds that the person looks at a task before submitting.
    """

    def __init__(
        self,
        client: httpx.Client,
        project: int,
        answer: Callable[[Task], Result],
        *,
        think: float = 0.0,
    ) -> None:
        self._client = client
        self._project = project
        self._answer = answer
        self._think = think

    def next_task(self) -> Task | None:
        """Draw the next task and lock it; None if there is none left."""
        response = self._client.get(f"/api/projects/{self._project}/next")
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        return dict(_checked(response).json())

    def submit(self, task: Task, result: Result, lead_time: float = 1.0) -> dict[str, Any]:
        """Submit an annotation; return it as Label Studio stored it."""
        body = {"result": result, "lead_time": lead_time}
        response = self._client.post(f"/api/tasks/{task['id']}/annotations/", json=body)
        return dict(_checked(response).json())

    def label(self, count: int | None = None) -> Iterator[Submission]:
        """Annotate up to ``count`` tasks (all that are left by default), one by one."""
        done = 0
        while count is None or done < count:
            started = time.monotonic()
            task = self.next_task()
            if task is None:
                return
            served = time.monotonic()
            result = self._answer(task)
            time.sleep(self._think)  # the person at work, not a wait for something
            answered = time.monotonic()
            self.submit(task, result, lead_time=answered - served)
            waited = served - started + time.monotonic() - answered
            yield Submission(task, result, _queue_version(task), waited)
            done += 1


def _queue_version(task: Task) -> str | None:
    # With a task come only the predictions under the project's current version, which is the queue.
    return next((row["model_version"] for row in task["predictions"]), None)


def _checked(response: httpx.Response) -> httpx.Response:
    if response.is_error:
        request = response.request
        raise ServerError(
            f"{request.method} {request.url.path} answered {response.status_code}: "
            f"{response.text[:300]}"
        )
    return response
