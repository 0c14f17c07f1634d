"""The queue of a real Label Studio is ordered, follows the labels, and survives what happens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from active_learn import ActiveSampler, LinearHead
from active_learn_backend.demo.annotator import Annotator, Submission, choice
from active_learn_backend.demo.backend import BackendServer
from active_learn_backend.demo.digits import Digits, digit_index
from active_learn_backend.demo.label_studio import LabelStudioServer
from active_learn_backend.demo.process import wait_until
from active_learn_backend.learning.encoders import ImageEncoder
from harness import Harness


@pytest.fixture
def params() -> dict[str, Any]:
    """Few tasks and frequent rounds, so that a test sees several; the ranking alone orders."""
    return {"budget": 6, "reserve": 4, "retrain_every": 4, "audit": 0}


def test_the_served_order_is_the_ranking(
    harness: Harness,
    digits_project: Callable[..., int],
    make_annotator: Callable[..., Annotator],
    digit_images: Digits,
    answer_digit: Callable[..., Any],
) -> None:
    project = digits_project(40)
    version = harness.version(project)

    rows = harness.rows(project, version)
    assert [row["score"] for row in rows] == [rank / 10 for rank in range(10)]

    # The same ranking, computed here from the same images by the library alone.
    tasks = harness.api("GET", f"/api/tasks/?project={project}&page_size=100&include=id,data")[
        "tasks"
    ]
    tasks.sort(key=lambda task: task["id"])
    images = [digit_images.png[digit_index(task)] for task in tasks]
    embeddings = ImageEncoder().encode(images).astype(np.float16).astype(np.float32)
    sampler = ActiveSampler(
        "classification",
        LinearHead.untrained(10, embeddings.shape[1]),
        6,
        precompute_covariance=True,
        seed_fisher=True,
        random_state=0,
    )
    expected = [tasks[at]["id"] for at in sampler.rank(embeddings, 10).indices]
    assert [row["task"] for row in rows] == expected

    # And what an annotator is really served, label after label.
    served = [
        submission.task["id"]
        for submission in make_annotator(project, answer_digit).label(3)
        if submission.version == version
    ]
    assert len(served) == 3
    assert served == expected[:3]


def test_three_users_get_different_tasks_in_order(
    harness: Harness,
    digits_project: Callable[..., int],
    make_annotator: Callable[..., Annotator],
    make_user: Callable[[], Any],
    answer_digit: Callable[..., Any],
) -> None:
    project = digits_project(30)
    expected = harness.queue(project)[:6]
    annotators = [make_annotator(project, answer_digit, make_user()) for _ in range(3)]

    first = [annotator.next_task() for annotator in annotators]
    assert [task["id"] for task in first if task] == expected[:3]
    for annotator, task in zip(annotators[::-1], first[::-1], strict=True):
        assert task is not None
        annotator.submit(task, answer_digit(task))
    second = [annotator.next_task() for annotator in annotators]
    assert [task["id"] for task in second if task] == expected[3:6]


def test_the_next_queue_follows_the_labels_and_projects_stay_apart(
    harness: Harness,
    make_digits_project: Callable[..., int],
    answer_digit: Callable[..., Any],
) -> None:
    """Three equal projects at once: same labels, same queue; other labels, another queue."""
    projects = [make_digits_project(60, title=f"Twin {name}") for name in "abc"]
    for project in projects:
        harness.connect(project)
    queues = [harness.queue(project) for project in projects]
    offsets = [queue[0] for queue in queues]
    first_ids = [
        min(task["id"] for task in harness.api("GET", f"/api/tasks/?project={p}")["tasks"])
        for p in projects
    ]
    positions = [[task - base for task in q] for q, base in zip(queues, first_ids, strict=True)]
    assert positions[0] == positions[1] == positions[2]
    assert len(set(offsets)) == 3

    def lie(task: dict[str, Any]) -> list[dict[str, Any]]:
        truth = answer_digit(task)[0]["value"]["choices"][0]
        return choice(str(int(truth) % 2))

    for project, answer in zip(projects, (answer_digit, answer_digit, lie), strict=True):
        before = int(harness.version(project)[3:])
        for task_id in harness.queue(project)[:5]:
            task = harness.api("GET", f"/api/tasks/{task_id}/")
            harness.annotate(task_id, answer(task))
        harness.wait_queue(project, after=before)
    # Rounds can start at the fourth label, so wait until the fifth is in as well.
    for project in projects:
        wait_until(lambda p=project: len(harness.labels(p)) == 5, timeout=30, what="five labels")
        harness.api("POST", "/api/ml/" + str(harness.state(project).backend_id) + "/train")
    for project in projects:
        wait_until(
            lambda p=project: (
                not harness.state(p).round_requested and harness.state(p).pending_labels == 0
            ),
            timeout=30,
            what="a round with all labels",
        )
    positions = [
        [task - base for task in harness.queue(project)]
        for project, base in zip(projects, first_ids, strict=True)
    ]
    assert positions[0] == positions[1]
    assert positions[0] != positions[2]
    for project, base in zip(projects, first_ids, strict=True):
        assert all(0 <= task - base < 60 for task in harness.queue(project))


def test_opening_a_task_and_retrieving_predictions_leave_the_queue_alone(
    harness: Harness,
    digits_project: Callable[..., int],
    label_digits: Callable[..., list[Submission]],
    make_annotator: Callable[..., Annotator],
    answer_digit: Callable[..., Any],
) -> None:
    project = digits_project(40)
    label_digits(project, 5)
    harness.wait_queue(project, after=1)
    wait_until(
        lambda: harness.state(project).pending_labels < 4, timeout=30, what="a quiet backend"
    )
    version, queue = harness.version(project), harness.queue(project)
    outside = [
        task["id"]
        for task in harness.api("GET", f"/api/tasks/?project={project}&page_size=100")["tasks"]
        if task["id"] not in queue and task["id"] not in harness.labels(project)
    ]

    opened = harness.api("GET", f"/api/tasks/{outside[0]}/?project={project}")
    assert opened["id"] == outside[0]
    harness.api(
        "POST",
        f"/api/dm/actions?id=retrieve_tasks_predictions&project={project}",
        {"selectedItems": {"all": False, "included": outside[:4] + queue[-1:]}},
    )

    stored = harness.rows(project)
    live = [row for row in stored if row["model_version"].startswith("head-")]
    assert {row["task"] for row in live} >= set(outside[:4])
    assert all(0 < row["score"] <= 1 and row["result"] for row in live)
    assert harness.version(project) == version
    assert harness.queue(project) == queue
    annotator = make_annotator(project, answer_digit)
    task = annotator.next_task()
    assert task is not None
    assert task["id"] in queue[:2]


def test_it_turns_without_webhooks(
    harness: Harness,
    digits_project: Callable[..., int],
    label_digits: Callable[..., list[Submission]],
) -> None:
    project = digits_project(30)
    for webhook in harness.api("GET", f"/api/webhooks/?project={project}"):
        harness.api("DELETE", f"/api/webhooks/{webhook['id']}/")
    label_digits(project, 6)
    harness.wait_queue(project, after=1)
    wait_until(lambda: len(harness.labels(project)) == 6, timeout=30, what="six labels")


def test_pull_registers_nothing_and_orders_all_the_same(
    harness: Harness,
    digits_project: Callable[..., int],
    label_digits: Callable[..., list[Submission]],
) -> None:
    project = digits_project(30, "--pull")
    assert harness.api("GET", f"/api/ml/?project={project}") == []
    assert harness.api("GET", f"/api/webhooks/?project={project}") == []
    label_digits(project, 6)
    harness.wait_queue(project, after=1)


def test_a_reset_version_is_repaired_and_said(
    harness: Harness,
    digits_project: Callable[..., int],
) -> None:
    project = digits_project(20)
    version = harness.version(project)
    # What the settings page does when a person turns pre-labeling off.
    harness.api("PATCH", f"/api/projects/{project}/", {"show_collab_predictions": False})
    wait_until(lambda: harness.version(project) == version, timeout=30, what="the repair")
    harness.wait_log(f"project {project}: model_version was reset")

    harness.api("DELETE", f"/api/projects/{project}/model-versions/", {"model_version": version})
    harness.wait_queue(project, after=int(version[3:]))


def test_a_person_who_changes_the_sampling_wins(
    harness: Harness,
    digits_project: Callable[..., int],
    label_digits: Callable[..., list[Submission]],
) -> None:
    project = digits_project(30)
    version = harness.version(project)
    harness.api("PATCH", f"/api/projects/{project}/", {"sampling": "Sequential sampling"})
    wait_until(
        lambda: harness.state(project).status == "paused_by_user", timeout=30, what="the pause"
    )
    harness.wait_log(f"project {project}: paused, because the task sampling was changed")
    label_digits(project, 6)
    wait_until(lambda: len(harness.labels(project)) == 6, timeout=30, what="six labels")
    assert harness.project(project)["sampling"] == "Sequential sampling"
    assert harness.version(project) == version

    harness.api("PATCH", f"/api/projects/{project}/", {"sampling": "Uncertainty sampling"})
    harness.wait_queue(project, after=int(version[3:]))
    assert harness.state(project).status == "active"


def test_deleted_tasks_leave_the_queue(
    harness: Harness,
    digits_project: Callable[..., int],
    make_annotator: Callable[..., Annotator],
    answer_digit: Callable[..., Any],
) -> None:
    project = digits_project(30)
    doomed = harness.queue(project)[:5]
    harness.api(
        "POST",
        f"/api/dm/actions?id=delete_tasks&project={project}",
        {"selectedItems": {"all": False, "included": doomed}},
    )
    harness.wait_queue(project, after=1)
    queue = harness.queue(project)
    assert len(queue) == 10
    assert not set(queue) & set(doomed)
    submission = next(make_annotator(project, answer_digit).label(1))
    assert submission.task["id"] in queue


def test_a_changed_label_config_is_followed(
    harness: Harness,
    text_project: Callable[..., tuple[int, list[int]]],
) -> None:
    project, tasks = text_project(30)
    version = harness.version(project)
    for task in tasks[:2]:
        harness.annotate(task, choice("positive", "label", "text"))
    harness.wait_labels(project, dict.fromkeys(tasks[:2], "positive"))
    harness.api(
        "PATCH",
        f"/api/projects/{project}/",
        {
            "label_config": '<View><Text name="text" value="$text"/><Choices name="label" '
            'toName="text"><Choice value="positive"/><Choice value="negative"/>'
            '<Choice value="unclear"/></Choices></View>'
        },
    )
    harness.wait_queue(project, after=int(version[3:]))
    harness.annotate(tasks[2], choice("unclear", "label", "text"))
    harness.wait_labels(project, {tasks[0]: "positive", tasks[1]: "positive", tasks[2]: "unclear"})


def test_retired_queues_disappear(
    label_studio: LabelStudioServer,
    backend: Callable[..., BackendServer],
    make_digits_project: Callable[..., int],
    label_digits: Callable[..., list[Submission]],
    params: dict[str, Any],
) -> None:
    """They do once the project was quiet for 30 polls, which are short ones here."""
    served = backend(start=False, POLL_INTERVAL="0.2")
    served.server("worker").start()
    harness = Harness(label_studio, served, params)
    project = make_digits_project(40)
    harness.connect(project, "--pull")
    label_digits(project, 5)
    harness.wait_queue(project, after=1)
    assert len({row["model_version"] for row in harness.rows(project)}) > 1
    wait_until(
        lambda: (
            {row["model_version"] for row in harness.rows(project)} == {harness.version(project)}
        ),
        timeout=60,
        what="old queues to be retired",
    )


def test_all_labeled_is_no_error(
    harness: Harness,
    digits_project: Callable[..., int],
    make_annotator: Callable[..., Annotator],
    answer_digit: Callable[..., Any],
) -> None:
    project = digits_project(12)
    done = list(make_annotator(project, answer_digit).label())
    assert len(done) == 12
    wait_until(lambda: len(harness.labels(project)) == 12, timeout=30, what="all labels")
    wait_until(
        lambda: harness.state(project).pending_labels == 0, timeout=30, what="the last round"
    )
    assert harness.state(project).last_error == ""
