"""Connecting, repairing, pausing and disconnecting a project of a real Label Studio."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing

import httpx
import pytest
from active_learn_backend.demo.annotator import choice
from active_learn_backend.demo.backend import BackendServer
from active_learn_backend.demo.label_studio import LabelStudioServer
from active_learn_backend.demo.process import ServerError, wait_until
from harness import TEXT_CONFIG, Harness

SETTINGS = {
    "BUDGET": "5",
    "RESERVE": "3",
    "RETRAIN_EVERY": "3",
    "POLL_INTERVAL": "1",
    "BASIC_AUTH_USER": "team",
    "BASIC_AUTH_PASS": "a secret: with colon",
}
TEXTS = [f"{'good' if n % 2 else 'bad'} text number {n}" for n in range(24)]
POSITIVE = choice("positive", "label", "text")
NEGATIVE = choice("negative", "label", "text")


@pytest.fixture(scope="module")
def served(
    label_studio: LabelStudioServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[BackendServer]:
    """One backend with Basic auth for the file."""
    folder = tmp_path_factory.mktemp("connection") / "backend"
    with BackendServer(label_studio, folder, env=SETTINGS) as server:
        yield server


@pytest.fixture
def harness(label_studio: LabelStudioServer, served: BackendServer) -> Iterator[Harness]:
    """The servers; the backend leaves the test's projects when the test ends."""
    shared = Harness(label_studio, served)
    yield shared
    shared.release()


def test_connect_repairs_what_is_half_made_and_disconnect_restores(
    harness: Harness, make_text_project: Callable[..., tuple[int, list[int]]]
) -> None:
    project, tasks = make_text_project(TEXTS)
    harness.api(
        "POST",
        f"/api/projects/{project}/import/predictions",
        [{"task": tasks[0], "result": POSITIVE, "score": 0.9, "model_version": "theirs"}],
    )
    harness.api("PATCH", f"/api/projects/{project}/", {"model_version": "theirs"})
    foreign = harness.api(
        "POST",
        "/api/webhooks/",
        {"url": "http://127.0.0.1:9/other", "project": project, "send_for_all_actions": True},
    )
    harness.connect(project)
    # What retries after a refusal leave behind: a second model, and no webhook.
    url = harness.backend.url
    harness.api("POST", "/api/ml/", {"url": url, "project": project, "title": "again"} | AUTH)
    for webhook in harness.api("GET", f"/api/webhooks/?project={project}"):
        if webhook["id"] != foreign["id"]:
            harness.api("DELETE", f"/api/webhooks/{webhook['id']}/")

    said = harness.backend.run("connect", "--project", str(project))
    assert "duplicate model" in said
    assert "webhook" in said
    (backend,) = harness.api("GET", f"/api/ml/?project={project}")
    assert backend["state"] == "CO"
    ours = [
        webhook
        for webhook in harness.api("GET", f"/api/webhooks/?project={project}")
        if webhook["url"] == f"{url}/webhook"
    ]
    assert len(ours) == 1
    assert ours[0]["send_for_all_actions"] is True
    assert ours[0]["headers"]["X-Active-Sampler-Secret"] == harness.state(project).webhook_secret

    said = harness.backend.run("disconnect", "--project", str(project))
    assert "queue rows removed" in said
    assert harness.api("GET", f"/api/ml/?project={project}") == []
    left = harness.api("GET", f"/api/webhooks/?project={project}")
    assert [webhook["id"] for webhook in left] == [foreign["id"]]
    now = harness.project(project)
    assert now["sampling"] == "Sequential sampling"
    assert now["model_version"] == "theirs"
    assert {row["model_version"] for row in harness.rows(project)} == {"theirs"}


AUTH = {
    "auth_method": "BASIC_AUTH",
    "basic_auth_user": SETTINGS["BASIC_AUTH_USER"],
    "basic_auth_pass": SETTINGS["BASIC_AUTH_PASS"],
}


def test_webhooks_bear_the_secret_and_others_are_refused(
    harness: Harness, make_text_project: Callable[..., tuple[int, list[int]]]
) -> None:
    project, tasks = make_text_project(TEXTS)
    harness.connect(project)
    [webhook] = harness.api("GET", "/api/webhooks/", params={"project": project})
    assert not webhook["send_payload"]
    change_seq = harness.state(project).change_seq
    harness.annotate(tasks[0], POSITIVE)
    wait_until(
        lambda: harness.state(project).change_seq > change_seq,
        timeout=10,
        what="the webhook's mark",
    )

    body = {"action": "ANNOTATION_CREATED", "project": {"id": project}}
    change_seq = harness.state(project).change_seq
    for headers in ({}, {"X-Active-Sampler-Secret": "wrong"}):
        answer = httpx.post(f"{harness.backend.url}/webhook", json=body, headers=headers)
        assert answer.status_code == 401
    assert harness.state(project).change_seq == change_seq
    assert httpx.get(f"{harness.backend.url}/versions").status_code == 401


def test_a_project_added_on_the_model_page_is_ordered(
    harness: Harness, make_text_project: Callable[..., tuple[int, list[int]]]
) -> None:
    project, tasks = make_text_project(TEXTS)
    # What the Model page does.
    harness.api(
        "POST", "/api/ml/", {"url": harness.backend.url, "project": project, "title": "UI"} | AUTH
    )
    harness.wait_queue(project)
    assert harness.project(project)["sampling"] == "Uncertainty sampling"
    wait_until(lambda: harness.state(project).webhook_id, timeout=30, what="the webhook's secret")
    change_seq = harness.state(project).change_seq
    harness.annotate(tasks[0], POSITIVE)
    wait_until(
        lambda: harness.state(project).change_seq > change_seq,
        timeout=10,
        what="the webhook's mark",
    )

    said = harness.backend.run("disconnect", "--project", str(project))
    assert "remove it under Settings, Model" in said
    assert len(harness.api("GET", f"/api/ml/?project={project}")) == 1
    assert harness.project(project)["sampling"] == "Sequential sampling"


def test_what_is_deleted_in_label_studio_is_given_up(
    harness: Harness, make_text_project: Callable[..., tuple[int, list[int]]]
) -> None:
    gone, _ = make_text_project(TEXTS[:6])
    project, _ = make_text_project(TEXTS[:6])
    for number in (gone, project):
        harness.connect(number)
    harness.backend.process.stop()
    harness.api("DELETE", f"/api/projects/{gone}/")
    (model,) = harness.api("GET", f"/api/ml/?project={project}")
    harness.api("DELETE", f"/api/ml/{model['id']}")
    harness.backend.start()

    for number, status in ((gone, "disconnected"), (project, "paused")):
        wait_until(
            lambda number=number, status=status: harness.state(number).status == status,
            timeout=60,
            what=f"project {number} to be {status}",
        )
    said = harness.backend.run("disconnect", "--project", str(gone))
    assert "it is forgotten here too" in said
    assert "its model was deleted in Label Studio" in harness.state(project).reason
    assert harness.api("GET", f"/api/webhooks/?project={project}") == []
    assert harness.project(project)["sampling"] == "Sequential sampling"
    harness.backend.run("resume", "--project", str(project))
    harness.wait_queue(project)
    assert harness.api("GET", f"/api/ml/?project={project}") == []


def test_a_setup_that_label_studio_did_not_send_connects_nothing(
    harness: Harness, make_text_project: Callable[..., tuple[int, list[int]]]
) -> None:
    """A forged /setup took over a project that was never connected, with settings of its own."""
    project, _ = make_text_project(TEXTS)
    auth = (SETTINGS["BASIC_AUTH_USER"], SETTINGS["BASIC_AUTH_PASS"])
    for number in (project, 999_999):
        body = {
            "project": str(number),
            "schema": TEXT_CONFIG,
            "extra_params": {"strategy": "random", "budget": 1000},
        }
        answer = httpx.post(f"{harness.backend.url}/setup", json=body, auth=auth)
        assert answer.status_code == 200
        foreign = {"Origin": "http://evil.example"}
        answer = httpx.post(f"{harness.backend.url}/setup", json=body, auth=auth, headers=foreign)
        assert answer.status_code == 403
    # They are answered in turn: when the second is dropped, the first was looked up.
    harness.wait_log("project 999999: was set up and is not connected")
    assert harness.find(project) is None
    assert harness.find(999_999) is None
    assert harness.project(project)["sampling"] == "Sequential sampling"
    assert harness.rows(project) == []


def test_an_unusable_config_is_refused_in_words_that_the_user_sees(
    harness: Harness,
    label_studio: LabelStudioServer,
    make_text_project: Callable[..., tuple[int, list[int]]],
) -> None:
    config = (
        '<View><Text name="text" value="$text" encoding="base64"/><Choices name="label" '
        'toName="text"><Choice value="a"/><Choice value="b"/></Choices></View>'
    )
    project, _ = make_text_project(TEXTS[:3], config=config)
    with label_studio.client(label_studio.token) as person:
        body = {"url": harness.backend.url, "project": project, "title": "UI"} | AUTH
        answer = person.post("/api/ml/", json=body)
    assert answer.status_code == 400
    assert "import decoded text and remove it" in answer.text
    with pytest.raises(ServerError, match="import decoded text and remove it"):
        harness.backend.run("connect", "--project", str(project))
    assert harness.project(project)["sampling"] == "Sequential sampling"


def test_a_project_of_which_nothing_can_be_learned_is_ordered_by_coverage(
    harness: Harness, make_text_project: Callable[..., tuple[int, list[int]]]
) -> None:
    """Free text: 18 texts of one kind and 6 of another. Both kinds are served first, in turn."""
    config = '<View><Text name="text" value="$text"/><TextArea name="label" toName="text"/></View>'
    kinds = [n % 4 == 0 for n in range(24)]
    texts = [
        f"{'cats purr softly' if kind else 'the bank sent a letter'} {n}"
        for n, kind in enumerate(kinds)
    ]
    project, tasks = make_text_project(texts, config=config)
    said = harness.backend.run("connect", "--project", str(project))
    assert "ordered by coverage, as no control can be learned: TextArea 'label' takes" in said
    version = harness.wait_queue(project)
    queue = harness.queue(project)
    assert {kinds[tasks.index(task)] for task in queue[:2]} == {True, False}
    assert all(row["result"] == [] for row in harness.rows(project, version))
    value = {"text": ["about cats"]}
    item = {"from_name": "label", "to_name": "text", "type": "textarea", "value": value}
    done = queue[:3]
    for task, result in zip(
        done, ([item], [], [item]), strict=True
    ):  # an empty one is an answer too
        harness.annotate(task, result)
    harness.wait_labels(project, dict.fromkeys(done, "annotated"))
    harness.wait_queue(project, after=int(version[3:]))
    assert not set(done) & set(harness.queue(project))
    report = harness.rounds(project)[-1]
    assert (report.labeled, report.head_version) == (3, "")


def test_commands_on_a_project_that_is_not_connected_say_so(harness: Harness) -> None:
    for command in ("disconnect", "pause", "resume"):
        with pytest.raises(ServerError, match="project 999 is not connected in this project state"):
            harness.backend.run(command, "--project", "999")
    with pytest.raises(ServerError, match="Label Studio has no project 999 that"):
        harness.backend.run("connect", "--project", "999")


def test_a_second_connection_remembers_anew_what_it_found(
    harness: Harness, make_text_project: Callable[..., tuple[int, list[int]]]
) -> None:
    project, _ = make_text_project(TEXTS)
    for sampling in ("Sequential sampling", "Uniform sampling"):
        harness.api("PATCH", f"/api/projects/{project}/", {"sampling": sampling})
        harness.backend.run("connect", "--project", str(project), "--pull")
        assert harness.project(project)["sampling"] == "Uncertainty sampling"
        harness.backend.run("disconnect", "--project", str(project))
        assert harness.project(project)["sampling"] == sampling


def test_pause_and_resume(
    harness: Harness, make_text_project: Callable[..., tuple[int, list[int]]]
) -> None:
    project, tasks = make_text_project(TEXTS)
    version = harness.connect(project)
    harness.backend.run("pause", "--project", str(project))
    assert harness.project(project)["sampling"] == "Sequential sampling"
    for task in tasks[:4]:
        harness.annotate(task, POSITIVE)
    harness.backend.run("resume", "--project", str(project))
    assert harness.project(project)["sampling"] == "Uncertainty sampling"
    harness.wait_queue(project, after=int(version[3:]))
    harness.wait_labels(project, dict.fromkeys(tasks[:4], "positive"))


def test_labels_are_read_right(
    harness: Harness,
    label_studio: LabelStudioServer,
    make_text_project: Callable[..., tuple[int, list[int]]],
) -> None:
    """Skips, updates, deletions, several annotations, ground truths, imported annotations."""
    project, tasks = make_text_project(TEXTS, maximum_annotations=3)
    harness.connect(project)
    harness.annotate(tasks[0], POSITIVE)
    harness.annotate(tasks[1], [], was_cancelled=True)
    updated = harness.annotate(tasks[2], POSITIVE)
    deleted = harness.annotate(tasks[3], POSITIVE)
    for result in (POSITIVE, NEGATIVE, NEGATIVE):  # the majority
        harness.annotate(tasks[4], result)
    harness.annotate(tasks[5], POSITIVE)  # a tie: the latest
    harness.annotate(tasks[5], NEGATIVE)
    harness.annotate(tasks[6], POSITIVE, ground_truth=True)  # a ground truth against two others
    harness.annotate(tasks[6], NEGATIVE)
    harness.annotate(tasks[6], NEGATIVE)
    first = {
        tasks[0]: "positive",
        tasks[2]: "positive",
        tasks[3]: "positive",
        tasks[4]: "negative",
        tasks[5]: "negative",
        tasks[6]: "positive",
    }
    harness.wait_labels(project, first)

    harness.api("PATCH", f"/api/annotations/{updated}/", {"result": NEGATIVE})
    harness.api("DELETE", f"/api/annotations/{deleted}/")
    imported = harness.api(
        "POST",
        f"/api/projects/{project}/import?return_task_ids=true",
        [{"data": {"text": "imported"}, "annotations": [{"result": NEGATIVE}]}],
    )["task_ids"]
    expected = {**first, tasks[2]: "negative", imported[0]: "negative"}
    del expected[tasks[3]]
    harness.wait_labels(project, expected)
    harness.wait_queue(project, after=1)
    wait_until(
        lambda: harness.state(project).pending_labels < 3, timeout=30, what="a quiet backend"
    )
    assert tasks[1] not in harness.queue(project)


def test_a_label_whose_task_bears_no_new_stamp_is_read(
    harness: Harness,
    label_studio: LabelStudioServer,
    make_text_project: Callable[..., tuple[int, list[int]]],
) -> None:
    """As Label Studio leaves it when it is killed after the annotation is stored."""
    project, tasks = make_text_project(TEXTS)
    harness.connect(project)
    harness.backend.run("pause", "--project", str(project))
    database = sqlite3.connect(label_studio.data_dir / "label_studio.sqlite3", timeout=60)
    before = database.execute(
        "SELECT updated_at, is_labeled, total_annotations, id FROM task WHERE project_id = ?",
        [project],
    ).fetchall()
    for task in tasks[:3]:
        harness.annotate(task, POSITIVE)
    with closing(database), database:
        database.executemany(
            "UPDATE task SET updated_at = ?, is_labeled = ?, total_annotations = ? WHERE id = ?",
            before,
        )
    harness.backend.run("resume", "--project", str(project))
    harness.wait_labels(project, dict.fromkeys(tasks[:3], "positive"))


@pytest.mark.parametrize("prelabel", ["none", "keep:theirs"])
def test_prelabel_none_and_keep(
    prelabel: str,
    harness: Harness,
    label_studio: LabelStudioServer,
    make_text_project: Callable[..., tuple[int, list[int]]],
) -> None:
    project, tasks = make_text_project(TEXTS)
    label_studio.api(
        "POST",
        f"/api/projects/{project}/import/predictions",
        [
            {"task": task, "result": NEGATIVE, "score": 0.5, "model_version": "theirs"}
            for task in tasks
        ],
    )
    for task, result in zip(tasks[:4], (POSITIVE, NEGATIVE) * 2, strict=True):
        label_studio.api("POST", f"/api/tasks/{task}/annotations/", {"result": result})
    version = harness.connect(project, "--pull", prelabel=prelabel)
    results = [row["result"] for row in harness.rows(project, version)]
    assert len(results) == 8
    if prelabel == "none":
        assert results == [[]] * 8
    else:
        assert [result[0]["value"]["choices"] for result in results] == [["negative"]] * 8
