"""What the queue writes and deletes, and when it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from active_learn_backend.errors import LabelStudioError
from active_learn_backend.labelstudio.published_queue import (
    AT_ONCE,
    Queue,
    RetirementStep,
    round_of,
)


class Recorder:
    """Stands for the client: keeps what it was told to write."""

    def __init__(self, created: int | None = None) -> None:
        self.created, self.timeout = created, 1.0
        self.written: list[dict[str, Any]] = []
        self.done: list[tuple[Any, ...]] = []

    def import_predictions(
        self, _project: int, rows: list[dict[str, Any]], *, timeout: float
    ) -> int:
        self.written = rows
        return len(rows) if self.created is None else self.created

    def model_versions(self, _project: int) -> dict[str, int]:
        return {"al-3": 2, "al-10": 50, "head-3": 9, "al-x": 1, "theirs": 7, "": 1}

    def predictions(self, _project: int, version: str) -> list[dict[str, Any]]:
        return [{"id": int(version[3:]) * 1000 + n} for n in range(50)]

    def delete_prediction(self, row: int) -> None:
        self.done.append(("row", row))

    def delete_version(self, project: int, version: str) -> None:
        self.done.append(("version", project, version))


def test_scores_are_ranks_below_one() -> None:
    client = Recorder()
    version = Queue(client, 7).publish(4, [30, 10, 20, 40], [[], [{"a": 1}], [], []])  # type: ignore[arg-type]
    assert version == "al-4"
    assert [(row["task"], row["score"]) for row in client.written] == [
        (30, 0.0),
        (10, 0.25),
        (20, 0.5),
        (40, 0.75),
    ]
    assert {row["model_version"] for row in client.written} == {"al-4"}


def test_rows_that_vanish_are_an_error() -> None:
    with pytest.raises(LabelStudioError, match="stored 1 of 2 rows of al-4 of project 7"):
        Queue(Recorder(created=1), 7).publish(4, [1, 2], [[], []])  # type: ignore[arg-type]


def test_only_our_versions_are_counted() -> None:
    assert Queue(Recorder(), 7).versions() == {3: 2, 10: 50}  # type: ignore[arg-type]
    assert [round_of(name) for name in ("al-12", "al-", "xal-1", "al-1 ", None)] == [
        12,
        None,
        None,
        None,
        None,
    ]


def test_a_large_version_goes_row_by_row_until_the_rest_is_small() -> None:
    client = Recorder()
    queue = Queue(client, 7)  # type: ignore[arg-type]
    steps = queue.retirements({10: 50, 3: 2})
    assert steps[0] == RetirementStep("al-3", None)
    assert steps[-1] == RetirementStep("al-10", None)
    assert len(steps) == 1 + (50 - AT_ONCE) + 1
    for step in steps:
        queue.retire(step)
    assert client.done[0] == ("version", 7, "al-3")
    assert client.done[1] == ("row", 10_000)
    assert client.done[-1] == ("version", 7, "al-10")
