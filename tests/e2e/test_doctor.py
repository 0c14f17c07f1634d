"""`active-learn doctor` on a real Label Studio: one thing broken at a time, told, repaired."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from active_learn_backend.demo.annotator import choice
from active_learn_backend.demo.backend import BackendServer
from active_learn_backend.demo.label_studio import LabelStudioServer, User
from active_learn_backend.demo.process import ServerError, free_port
from active_learn_backend.doctor import examine, exit_status, repair
from active_learn_backend.doctor.recounts import QUICK_IMPORTS, check_recounts
from active_learn_backend.labelstudio.client import LabelStudioClient
from active_learn_backend.settings import load_settings
from harness import TEXT_CONFIG, Harness

SETTINGS = {
    "BUDGET": "5",
    "RESERVE": "3",
    "RETRAIN_EVERY": "3",
    "POLL_INTERVAL": "600",  # so that the worker repairs nothing by itself meanwhile
    "BASIC_AUTH_USER": "team",
    "BASIC_AUTH_PASS": "a secret: with colon",
}
AUTH = {
    "auth_method": "BASIC_AUTH",
    "basic_auth_user": SETTINGS["BASIC_AUTH_USER"],
    "basic_auth_pass": SETTINGS["BASIC_AUTH_PASS"],
}
PATIENCE = 60.0  # seconds
TEXTS = [f"{'good' if n % 2 else 'bad'} text number {n}" for n in range(24)]
POSITIVE = choice("positive", "label", "text")


@pytest.fixture(scope="module")
def harness(
    label_studio: LabelStudioServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Harness]:
    folder = tmp_path_factory.mktemp("doctor") / "backend"
    with BackendServer(label_studio, folder, env=SETTINGS) as server:
        yield Harness(label_studio, server)


@pytest.fixture(scope="module")
def project(harness: Harness, label_studio: LabelStudioServer) -> int:
    """A connected project with a queue; each test leaves it whole."""
    body = {"title": "Texts", "label_config": TEXT_CONFIG}
    number = int(harness.api("POST", "/api/projects/", body)["id"])
    harness.api("POST", f"/api/projects/{number}/import", [{"text": text} for text in TEXTS])
    harness.connect(number)
    return number


def doctor(
    harness: Harness, project: int | None = None, *, fix: bool = False, **settings: str
) -> tuple[int, list[str]]:
    """Do what the command does; gives its exit status and its lines."""
    names = ("LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY", "MODEL_DIR", "HOST", "PORT", *SETTINGS)
    given = {name.lower(): harness.backend.env[name] for name in names}
    used = load_settings(**{**given, **settings})
    findings = examine(used, project, time.monotonic() + PATIENCE)
    done = repair(used, findings, project) if fix else []
    if done:
        findings = examine(used, project, time.monotonic() + PATIENCE)
    lines = [*(f"fix: {line}" for line in done), *map(str, findings)]
    return exit_status(findings), lines


def command(harness: Harness, *options: str, **env: str) -> tuple[int, list[str]]:
    """Run it as its users do."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("active-learn")), "doctor", *options],
        env=harness.backend.env | env,
        cwd=harness.backend.model_dir,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout.splitlines()


def complaints(lines: list[str]) -> list[str]:
    return [line for line in lines if not line.startswith(("ok:", "fix:"))]


def says(lines: list[str], *parts: str) -> bool:
    """Return whether one line holds all the parts."""
    return any(all(part in line for part in parts) for line in lines)


def test_a_sound_connection_is_found_sound(harness: Harness, project: int) -> None:
    status, lines = command(harness, "--seconds=40")  # these tests run beside others
    assert complaints(lines) == []
    assert status == 0
    assert says(lines, "ok:", "Label Studio 1.23")
    assert says(lines, "ok:", "legacy token of admin@example.com")
    assert says(lines, "ok:", "clocks")
    assert says(lines, "ok:", "worker is running")
    assert says(lines, "ok:", f"project {project}: Label Studio reaches us")
    assert says(lines, "ok:", f"project {project}: its webhook")
    assert says(lines, "ok:", f"project {project}: its task sampling")
    assert says(lines, "ok:", f"project {project}: its queue al-1 is served")
    assert says(lines, "ok:", f"project {project}: its encoder text-ngrams-1 loads")


def test_it_ends_in_time_whatever_hangs(harness: Harness, project: int) -> None:
    with socket.socket() as silent:  # takes connections, and never answers
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        status, lines = command(harness, "--seconds=2", LABEL_STUDIO_URL=url, REQUEST_TIMEOUT="100")
        # Starting Python on a busy machine is most of it; one answer waited for would be 100 s.
        assert time.monotonic() - began < 50
    assert status == 2
    assert says(lines, "not checked: Label Studio", "--seconds")
    assert says(lines, "not checked: the projects") or says(
        lines, f"not checked: project {project}"
    )


def delete_webhooks(harness: Harness, project: int) -> None:
    for webhook in harness.api("GET", f"/api/webhooks/?project={project}"):
        harness.api("DELETE", f"/api/webhooks/{webhook['id']}/")


def strip_webhook(harness: Harness, project: int) -> None:
    (webhook,) = harness.api("GET", f"/api/webhooks/?project={project}")
    body = {"headers": {}, "send_for_all_actions": True, "actions": []}
    harness.api("PATCH", f"/api/webhooks/{webhook['id']}/", body)


def leave_webhook(harness: Harness, project: int) -> None:
    (webhook,) = harness.api("GET", f"/api/webhooks/?project={project}")
    body = {"url": "http://127.0.0.1:9/webhook", "project": project, "headers": webhook["headers"]}
    harness.api("POST", "/api/webhooks/", body)


def duplicate_row(harness: Harness, project: int) -> None:
    harness.api(
        "POST", "/api/ml/", {"url": harness.backend.url, "project": project, "title": "2"} | AUTH
    )
    harness.api(
        "PATCH",
        f"/api/projects/{project}/",
        {"model_version": harness.state(project).queue_version},
    )


def delete_row(harness: Harness, project: int) -> None:
    (row,) = harness.api("GET", f"/api/ml/?project={project}")
    harness.api("DELETE", f"/api/ml/{row['id']}")


def change_sampling(harness: Harness, project: int) -> None:
    harness.api("PATCH", f"/api/projects/{project}/", {"sampling": "Sequential sampling"})


@pytest.mark.parametrize(
    ("damage", "verdict", "words", "repaired"),
    [
        (delete_webhooks, "wrong", "its webhook is missing", "webhook"),
        (strip_webhook, "wrong", "does not bear the secret", "the annotation stream is ordered"),
        (leave_webhook, "warning", "left over from an earlier connection", "orphan webhook"),
        (duplicate_row, "warning", "is a duplicate of", "duplicate model"),
        (delete_row, "wrong", "Label Studio has no model at", "registered at"),
        (change_sampling, "wrong", "'Sequential sampling', so our order", "stream is ordered"),
    ],
)
def test_what_is_broken_is_told_and_repaired(
    damage: Callable[[Harness, int], None],
    verdict: str,
    words: str,
    repaired: str,
    harness: Harness,
    project: int,
) -> None:
    damage(harness, project)
    status, lines = doctor(harness, project)
    assert says(lines, f"{verdict}: project {project}: ", words), lines
    assert status == (1 if verdict == "wrong" else 0)

    status, lines = doctor(harness, project, fix=True)
    assert says(lines, f"fix: project {project}: ", repaired), lines
    assert complaints(lines) == []
    assert status == 0
    assert repair_again(harness, project) == []


def repair_again(harness: Harness, project: int) -> list[str]:
    """Return what a second repair would still do."""
    _, lines = doctor(harness, project, fix=True)
    return [line for line in lines if line.startswith("fix:")]


def test_the_queue_is_served_again(
    backend: Callable[..., BackendServer],
    label_studio: LabelStudioServer,
    make_text_project: Callable[..., tuple[int, list[int]]],
) -> None:
    """With the worker stopped, which would set it right by itself within moments."""
    number, _ = make_text_project(TEXTS)
    harness = Harness(label_studio, backend(start=False, **SETTINGS))
    worker = harness.backend.server("worker").start()
    version = harness.connect(number, "--pull")
    worker.stop()
    harness.api("PATCH", f"/api/projects/{number}/", {"model_version": ""})
    status, lines = doctor(harness)
    assert says(lines, "wrong:", f"model_version is '' instead of '{version}'")
    assert status == 1
    _, lines = doctor(harness, fix=True)
    assert says(lines, f"fix: project {number}: {version} is served")
    assert says(lines, f"ok: project {number}: its queue {version} is served")
    assert says(lines, f"ok: project {number}: connected by polling only")
    assert harness.version(number) == version

    path = f"/api/projects/{number}/model-versions/"
    harness.api("DELETE", path, {"model_version": version})
    _, lines = doctor(harness)
    assert says(lines, "wrong:", "so the stream is random")
    _, lines = doctor(harness, fix=True)
    assert says(lines, "fix:", f"the predictions of {version} are gone: a new round is asked for")
    harness.backend.server("worker").start()
    harness.wait_queue(number, after=int(version[3:]))


def test_the_command_repairs_and_ends_well(harness: Harness, project: int) -> None:
    delete_webhooks(harness, project)
    status, lines = command(harness, "--fix", "--seconds=40")
    assert says(lines, f"fix: project {project}: webhook", "registered")
    assert (status, complaints(lines)) == (0, [])


def test_the_webhook_of_a_project_that_is_gone_from_here_is_removed(
    harness: Harness, project: int, make_text_project: Callable[..., tuple[int, list[int]]]
) -> None:
    other, _ = make_text_project(TEXTS[:3])
    url = f"{harness.backend.url}/webhook"
    harness.api("POST", "/api/webhooks/", {"url": url, "project": other})
    foreign = harness.api("POST", "/api/webhooks/", {"url": f"{url}/x", "project": other})
    status, lines = doctor(harness)
    assert status == 0
    assert says(lines, "warning: webhook", f"of project {other}, which is not connected")
    doctor(harness, fix=True)
    left = harness.api("GET", f"/api/webhooks/?project={other}")
    assert [one["id"] for one in left] == [foreign["id"]]
    assert len(harness.api("GET", f"/api/webhooks/?project={project}")) == 1


def test_a_refused_token_and_a_wrong_address_are_told_apart(harness: Harness, project: int) -> None:
    status, lines = doctor(harness, label_studio_api_key="0" * 40)
    assert (status, says(lines, "wrong: Label Studio refuses the legacy token")) == (1, True)
    assert says(lines, "not checked: the projects")
    status, lines = doctor(harness, label_studio_api_key="e30.e30.nosignature")
    assert says(lines, "wrong: Label Studio refuses the personal access token")
    status, lines = doctor(harness, label_studio_api_key="")
    assert says(lines, "wrong: no token", "LABEL_STUDIO_API_KEY")
    status, lines = doctor(harness, label_studio_url=f"http://127.0.0.1:{free_port(None)}")
    assert (status, says(lines, "wrong: Label Studio does not answer at")) == (1, True)
    status, lines = doctor(harness, label_studio_url=harness.backend.url)
    assert says(lines, "wrong: what answers at", "is not Label Studio", "LABEL_STUDIO_URL")


def test_a_backend_that_is_elsewhere_or_speaks_another_password_is_told(
    harness: Harness, project: int
) -> None:
    status, lines = doctor(harness, backend_url=f"http://127.0.0.1:{free_port(None)}")
    assert status == 1
    assert says(lines, "wrong: the backend does not answer at", "active-learn serve")
    assert says(lines, f"wrong: project {project}: Label Studio has no model at", "BACKEND_URL")
    status, lines = doctor(harness, backend_url=harness.label_studio.url)
    assert says(lines, "wrong: what answers at", "is not this backend")
    status, lines = doctor(harness, basic_auth_pass="another")
    assert says(lines, "wrong: the backend", "refuses our Basic auth")


def test_a_backend_that_is_down_is_told_from_both_sides(
    backend: Callable[..., BackendServer],
    label_studio: LabelStudioServer,
    make_text_project: Callable[..., tuple[int, list[int]]],
) -> None:
    number, _ = make_text_project(TEXTS)
    harness = Harness(label_studio, backend(**SETTINGS))
    harness.connect(number)
    harness.backend.process.stop()
    status, lines = doctor(harness)
    assert status == 1
    assert says(lines, "wrong: the backend does not answer")
    assert says(lines, f"wrong: project {number}: Label Studio cannot reach us")
    # By its address it may as well be the protection.
    assert says(lines, "ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false")
    status, lines = doctor(harness, fix=True)
    assert status == 1
    assert says(lines, f"fix: project {number}: not repaired:"), lines


def test_address_protection_is_told_with_the_variables_to_set(
    tmp_path: Path, label_studio_installed: None
) -> None:
    with LabelStudioServer(
        tmp_path / "guarded", env={"SSRF_PROTECTION_ENABLED": "true", "ML_BLOCK_LOCAL_IP": "true"}
    ) as guarded:
        body = {"title": "Guarded", "label_config": TEXT_CONFIG}
        number = guarded.api("POST", "/api/projects/", body)["id"]
        with BackendServer(guarded, tmp_path / "backend", env=SETTINGS) as server:
            harness = Harness(guarded, server)
            with pytest.raises(ServerError, match="ML_BLOCK_LOCAL_IP=false"):
                server.run("connect", "--project", str(number))
            assert harness.find(number) is None
            server.run("connect", "--project", str(number), "--pull")
            harness.store.update(number, mode="push")  # as if the switches were changed later
            status, lines = doctor(harness)
            assert status == 1
            assert says(lines, "ok: the backend answers at")
            assert says(lines, "Label Studio has no model at")
            status, lines = doctor(harness, fix=True)
            assert status == 1
            assert says(
                lines, "fix:", "address protection refuses", "USE_DEFAULT_BANNED_SUBNETS=false"
            )


def test_tasks_that_are_held_are_counted(
    harness: Harness,
    project: int,
    make_user: Callable[[], User],
    label_studio: LabelStudioServer,
) -> None:
    batch = harness.queue(project)[:5]
    for expected in batch[:3]:  # three people open one each, and go home
        with label_studio.client(make_user().token) as person:
            assert person.get(f"/api/projects/{project}/next").json()["id"] == expected
    harness.annotate(batch[3], POSITIVE)
    # A single label may wait for POLL_INTERVAL, no other change does.
    harness.api("PATCH", f"/api/projects/{project}/", {"title": "Texts held"})
    harness.wait_labels(project, {batch[3]: "positive"})
    status, lines = doctor(harness, project)
    assert says(lines, "warning:", "3 of 5 tasks of the batch were opened", "TASK_LOCK_TTL=3600")
    assert status == 0


def test_switched_off_prelabels_and_an_unusable_config_are_told(
    harness: Harness, project: int
) -> None:
    version = harness.version(project)
    for values in ({"show_collab_predictions": False}, {"model_version": version}):
        harness.api("PATCH", f"/api/projects/{project}/", values)
    status, lines = doctor(harness, project)
    assert says(lines, "warning:", "pre-labels are switched off", "resets model_version")
    assert status == 0
    for values in ({"show_collab_predictions": True}, {"model_version": version}):
        harness.api("PATCH", f"/api/projects/{project}/", values)
    status, lines = doctor(harness, 999999)
    assert (status, says(lines, "wrong: project 999999: Label Studio has no project 999999")) == (
        1,
        True,
    )


def test_a_model_that_does_not_load_is_told(harness: Harness, project: int) -> None:
    status, lines = doctor(harness, encoder="/nowhere/encoder")
    assert status == 1
    assert says(lines, f"wrong: project {project}:", "'/nowhere/encoder'", "correct its path")


def test_the_count_of_all_tasks_is_read_from_label_studios_flags(
    label_studio: LabelStudioServer, personal_access_token: str, tmp_path: Path
) -> None:
    def found(studio: LabelStudioServer, token: str) -> list[str]:
        settings = load_settings(label_studio_url=studio.url, label_studio_api_key=token)
        large = {"task_number": 6_000}
        return list(map(str, check_recounts(LabelStudioClient(settings), large)))

    assert says(found(label_studio, personal_access_token), "warning:", f"{QUICK_IMPORTS}=true")
    assert found(label_studio, label_studio.token) == []  # a legacy token sees no flags
