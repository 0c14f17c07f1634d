"""What the other end-to-end tests stand on, seen working against the real Label Studio."""

from __future__ import annotations

import httpx
import pytest
from active_learn_backend.demo import digits
from active_learn_backend.demo.annotator import choice
from active_learn_backend.demo.label_studio import LabelStudioServer
from active_learn_backend.demo.process import ServerError


def test_second_user_is_another_one(label_studio, make_user):
    user = make_user()
    with label_studio.client(user.token) as client:
        assert client.get("/api/current-user/whoami").json()["email"] == user.email
    assert user.email != label_studio.admin.email


def test_uploaded_digits_are_served_with_their_truth(
    label_studio, make_digits_project, make_annotator, answer_digit, digit_images
):
    project = make_digits_project(101)  # two requests: 100 files are the limit of one
    submissions = list(make_annotator(project, answer_digit).label(3))
    first = digits.digit_index(submissions[0].task)
    assert submissions[0].result == choice(digit_images.truth[first])
    assert [digits.digit_index(s.task) for s in submissions] == digit_images.pool[:3].tolist()
    shown = label_studio.api("GET", f"/api/projects/{project}/")
    assert (shown["task_number"], shown["num_tasks_with_annotations"]) == (101, 3)
    with label_studio.client(label_studio.token) as client:
        image = client.get(submissions[0].task["data"]["image"])
    assert image.content == digit_images.png[first]


def test_annotator_stops_when_nothing_is_left(make_text_project, make_annotator):
    project, ids = make_text_project(["good", "bad"])
    annotator = make_annotator(project, lambda task: choice("positive", to_name="text"))
    assert [s.task["id"] for s in annotator.label()] == ids
    assert annotator.next_task() is None


def test_refused_call_is_named_in_one_line(label_studio):
    with pytest.raises(ServerError, match=r"GET /api/projects/999999/ answered 404: .*No Project"):
        label_studio.api("GET", "/api/projects/999999/")


def test_taken_port_makes_way(label_studio, tmp_path):
    with LabelStudioServer(tmp_path / "data", port=label_studio.port) as second:
        assert second.port != label_studio.port
        assert second.api("GET", "/api/projects/")["count"] == 0
        url = second.url
    with pytest.raises(httpx.ConnectError):
        httpx.get(url + "/health", trust_env=False)
