"""More people than a batch has tasks, in a real Label Studio: nobody is sent away."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from active_learn_backend.demo.annotator import Annotator, choice
from harness import Harness

LEAVERS, OTHERS = 36, 4


def test_people_who_leave_with_open_tasks_lock_nobody_out(
    harness: Harness,
    text_project: Callable[..., tuple[int, list[int]]],
    make_user: Callable[[], Any],
    make_annotator: Callable[..., Annotator],
) -> None:
    """A batch of 4 and 30 more rows would all be in the hands of those who left."""
    people = [make_user() for _ in range(LEAVERS + OTHERS)]
    project, tasks = text_project(100, budget=4)

    def answer(task: dict[str, Any]) -> list[dict[str, Any]]:
        return choice("positive" if task["id"] % 2 else "negative", "label", "text")

    annotators = [make_annotator(project, answer, user) for user in people]
    opened = [annotator.next_task() for annotator in annotators[:LEAVERS]]
    assert None not in opened
    assert len({task["id"] for task in opened if task}) == LEAVERS
    for annotator in annotators[LEAVERS:]:
        assert len(list(annotator.label(3))) == 3
    assert len(harness.queue(project)) >= 4 + 2 * len(people)
    assert len(tasks) > len(harness.queue(project))
