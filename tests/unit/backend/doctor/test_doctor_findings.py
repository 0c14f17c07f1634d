"""What `active-learn doctor` makes of what it sees; the real servers are in tests/e2e."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from active_learn_backend import security_checks
from active_learn_backend.cli.serve import serve_command
from active_learn_backend.doctor import Finding, Verdict, examine, exit_status, repair
from active_learn_backend.doctor import environment as environment_module
from active_learn_backend.doctor.environment import (
    check_disk,
    check_engine,
    check_safety,
    check_training,
    check_worker,
)
from active_learn_backend.doctor.registration import (
    check_orphans,
    check_registration,
    is_reserved,
    orphans,
)
from active_learn_backend.doctor.servers import check_backend, check_label_studio
from active_learn_backend.errors import StoreError
from active_learn_backend.labelstudio.client import LabelStudioClient
from active_learn_backend.labelstudio.registration import SECRET_HEADER
from active_learn_backend.settings import Settings, load_settings
from active_learn_backend.state.store import Project, Store
from active_learn_backend.state.worker_heartbeats import record_heartbeat
from click.testing import CliRunner
from fake_server import KEY, Answer, Script


@pytest.fixture
def script() -> Iterator[Script]:
    server = Script()
    yield server
    server.close()


def settings_for(script: Script, folder: Path, **more: Any) -> Settings:
    given = {"label_studio_api_key": KEY, "model_dir": folder, "backend_url": script.url}
    return load_settings(label_studio_url=script.url, **{**given, **more})


def label_studio(
    release: str = "1.23.2", whoami: Answer | None = None
) -> Callable[[str, str, str | None], Answer]:
    """Answer as Label Studio does, as far as it is asked here."""
    person = {"email": "a@example.com", "permissions": ["projects.change"]}

    def answer(_method: str, path: str, _authorization: str | None) -> Answer:
        if path == "/api/version/":
            return 200, {}, json.dumps({"release": release}).encode()
        if path == "/api/current-user/whoami":
            return whoami or (200, {}, json.dumps(person).encode())
        return 404, {}, b"{}"

    return answer


def verdicts(findings: list[Finding]) -> list[str]:
    return [finding.verdict.value for finding in findings]


# -- lines and statuses ---------------------------------------------------------------------------


def test_a_finding_is_one_line_whatever_it_quotes() -> None:
    finding = Finding(Verdict.WRONG, "said:\n  boom\x0bbang", "look\nthere")
    assert str(finding) == "wrong: said: boom bang; look there"
    assert str(Finding(Verdict.OK, "all is well")) == "ok: all is well"


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ([], 0),
        ([Verdict.OK, Verdict.WARNING], 0),
        ([Verdict.OK, Verdict.NOT_CHECKED], 2),
        ([Verdict.NOT_CHECKED, Verdict.WRONG], 1),
    ],
)
def test_the_exit_status_is_that_of_the_worst(found: list[Verdict], status: int) -> None:
    assert exit_status(Finding(verdict, "x") for verdict in found) == status


# -- Label Studio ---------------------------------------------------------------------------------


def ask(script: Script, folder: Path) -> tuple[bool, list[Finding]]:
    settings = settings_for(script, folder)
    client = LabelStudioClient(settings)
    try:
        return check_label_studio(settings, client)
    finally:
        client.close()


def test_version_token_and_clock_of_label_studio(script: Script, tmp_path: Path) -> None:
    script.answer = label_studio()
    may_ask, findings = ask(script, tmp_path)
    assert may_ask
    assert verdicts(findings) == ["ok", "ok", "ok"]
    script.answer = label_studio(release="1.19.0")
    _, (version, *_) = ask(script, tmp_path)
    assert version.verdict is Verdict.WARNING
    assert "1.19.0" in version.what
    assert "1.23" in version.remedy


@pytest.mark.parametrize(
    ("apart", "verdict", "words"),
    [
        (3.0, "ok", "agree"),
        (-100.0, "warning", "s apart"),
        (100.0, "warning", "s apart"),
        (-3600.0, "wrong", "s apart"),
    ],
)
def test_clocks_that_differ(
    apart: float,
    verdict: str,
    words: str,
    script: Script,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def shifted(_handler: Any, _timestamp: Any = None) -> str:
        return formatdate(time.time() + apart, usegmt=True)

    monkeypatch.setattr(BaseHTTPRequestHandler, "date_time_string", shifted)
    script.answer = label_studio()
    _, (_, _, clock) = ask(script, tmp_path)
    assert clock.verdict.value == verdict
    assert words in clock.what
    if verdict != "ok":
        assert abs(float(clock.what.split()[-3]) - abs(apart)) <= 2


@pytest.mark.parametrize(
    ("whoami", "may_ask", "words"),
    [
        ((401, {}, b'{"detail": "Invalid token."}'), False, "refuses the legacy token"),
        ((200, {}, b'{"email": "b@example.com", "permissions": []}'), True, "may not change"),
    ],
)
def test_tokens_that_do_not_suffice(
    whoami: Answer, may_ask: bool, words: str, script: Script, tmp_path: Path
) -> None:
    script.answer = label_studio(whoami=whoami)
    asked, findings = ask(script, tmp_path)
    assert asked is may_ask
    assert findings[1].verdict is Verdict.WRONG
    assert words in findings[1].what
    assert KEY not in str(findings)


def test_another_server_is_not_taken_for_label_studio_nor_for_the_backend(
    script: Script, tmp_path: Path
) -> None:
    script.answer = lambda *_: (200, {}, b"<html>hello</html>")
    may_ask, (finding,) = ask(script, tmp_path)
    assert not may_ask
    assert "is not Label Studio" in finding.what
    (finding,) = check_backend(settings_for(script, tmp_path))
    assert "is not this backend" in finding.what


def test_the_backend_s_own_complaints_are_passed_on(script: Script, tmp_path: Path) -> None:
    health = {
        "status": "UP",
        "model_class": "ActiveLearningModel",
        "degraded": ["store: cannot be read", "worker: none has been seen"],
    }
    script.answer = lambda *_: (200, {}, json.dumps(health).encode())
    findings = list(check_backend(settings_for(script, tmp_path)))
    assert verdicts(findings) == ["ok", "warning"]
    assert "store: cannot be read" in findings[1].what


@pytest.mark.parametrize(
    ("url", "reserved"),
    [
        ("http://127.0.0.1:9090", True),
        ("http://10.1.2.3", True),
        ("http://172.30.90.4:9090", True),
        ("http://100.64.1.1", True),
        ("http://[fd00::1]:9090", True),
        ("http://[::1]", True),
        ("http://93.184.215.14:9090", False),
        ("http://[2606:2800:21f::1]", False),
    ],
)
def test_addresses_that_label_studio_blocks(url: str, reserved: bool) -> None:
    assert is_reserved(url) is reserved


def test_only_webhooks_to_us_that_outlived_their_model_are_orphans(
    script: Script, tmp_path: Path
) -> None:
    ours = f"{script.url}/webhook"
    webhooks = [
        {"id": 1, "project": 5, "url": ours},  # connected
        {"id": 2, "project": 6, "url": ours},  # its model is gone
        {"id": 3, "project": 6, "url": f"{ours}/x"},  # another's
        {"id": 4, "project": 7, "url": ours},  # of a backend with a state of its own
        {"id": 5, "project": None, "url": ours},  # of the organization, made by hand
    ]

    def answer(_method: str, path: str, _authorization: str | None) -> Answer:
        if path == "/api/webhooks/":
            return 200, {}, json.dumps(webhooks).encode()
        rows = [{"id": 1, "url": script.url}] if path.endswith("project=7") else []
        return 200, {}, json.dumps(rows).encode()

    script.answer = answer
    settings = settings_for(script, tmp_path)
    client = LabelStudioClient(settings)
    assert [one["id"] for one in orphans(client, settings, {5})] == [2]
    (finding,) = check_orphans(client, settings, {5})
    assert (finding.verdict, finding.repairable) == (Verdict.WARNING, True)
    client.close()


# -- this machine ---------------------------------------------------------------------------------


def test_a_full_disk_and_a_folder_that_cannot_be_written_are_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (finding,) = check_disk(tmp_path / "not" / "there" / "yet")
    assert finding.verdict is Verdict.OK
    assert not (tmp_path / "not").exists()
    file = tmp_path / "file"
    file.touch()
    (finding,) = check_disk(file / "below")
    assert finding.verdict is Verdict.WRONG
    monkeypatch.setattr(environment_module, "DISK_LOW", 2**60)
    (finding,) = check_disk(tmp_path)
    assert finding.verdict is Verdict.WRONG
    assert "MiB left" in finding.what


def test_a_cluster_that_does_not_answer_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(check_engine(load_settings())) == []
    (finding,) = check_engine(load_settings(engine="ray"))
    assert finding.verdict is Verdict.OK
    with socket.create_server(("127.0.0.1", 0)) as head:
        address = f"127.0.0.1:{head.getsockname()[1]}"
        (finding,) = check_engine(load_settings(engine="ray", ray_address=address))
        assert finding.verdict is Verdict.OK
        assert address in finding.what
    (finding,) = check_engine(load_settings(engine="ray", ray_address=address))
    assert finding.verdict is Verdict.WRONG
    assert f"Ray does not answer at {address}" in finding.what
    monkeypatch.setattr(security_checks, "find_spec", lambda name: None)
    (finding,) = check_engine(load_settings(engine="ray"))
    assert "pip install" in finding.what


def test_packages_that_a_training_lacks_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(check_training(load_settings())) == []
    (finding,) = check_training(load_settings(train="lora"))
    assert finding.verdict is Verdict.OK
    monkeypatch.setattr(security_checks, "find_spec", lambda name: None)
    (finding,) = check_training(load_settings(train="lora"))
    assert finding.verdict is Verdict.WRONG
    said = "whose packages are not installed (accelerate, peft): pip install"
    assert f"TRAIN is lora, {said}" in finding.what
    served = CliRunner().invoke(serve_command, ["--train", "full"])
    assert f"TRAIN is full, {said}" in str(served.exception)


def test_a_worker_is_missed(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'state.sqlite3'}")
    (finding,) = check_worker(store)
    assert "has never been seen" in finding.what
    assert finding.verdict is Verdict.WRONG
    record_heartbeat(store, "host/1/a")
    (finding,) = check_worker(store)
    assert finding.verdict is Verdict.OK
    store.close()


def test_settings_that_open_the_backend_to_all_are_told() -> None:
    findings = list(check_safety(load_settings(host="0.0.0.0")))
    assert any("without auth" in one.what and one.verdict is Verdict.WARNING for one in findings)
    assert all("without auth" not in one.what for one in check_safety(load_settings()))


# -- the whole ------------------------------------------------------------------------------------


def test_without_a_state_it_says_so_and_makes_none(script: Script, tmp_path: Path) -> None:
    script.answer = label_studio()
    settings = settings_for(script, tmp_path / "data")
    findings = examine(settings, None, time.monotonic() + 30)
    said = [str(finding) for finding in findings]
    assert any(line.startswith("warning: there is no project state in MODEL_DIR") for line in said)
    assert any(line.startswith("warning: no project is connected") for line in said)
    assert not (tmp_path / "data").exists()
    assert repair(settings, [Finding(Verdict.WRONG, "x", repairable=True)], None) == []
    assert not (tmp_path / "data").exists()


def test_a_damaged_state_is_wrong_and_the_rest_is_checked(script: Script, tmp_path: Path) -> None:
    script.answer = label_studio()
    (tmp_path / "state.sqlite3").write_bytes(b"no database at all" * 100)
    findings = examine(settings_for(script, tmp_path), None, time.monotonic() + 30)
    assert findings[0].verdict is Verdict.WRONG
    with pytest.raises(StoreError) as refused:
        Store(f"sqlite:///{tmp_path / 'state.sqlite3'}")
    assert str(refused.value) in findings[0].what
    assert any("Label Studio 1.23.2 answers" in finding.what for finding in findings)


def test_what_hangs_is_left_behind(script: Script, tmp_path: Path) -> None:
    release = threading.Event()

    def hang(*asked: Any) -> Answer:
        release.wait(30)
        return 200, {}, b"{}"

    script.answer = hang
    began = time.monotonic()
    findings = examine(settings_for(script, tmp_path), 5, began + 1.0)
    assert time.monotonic() - began < 10  # and not the thirty seconds of an answer
    release.set()
    late = [one.what for one in findings if one.verdict is Verdict.NOT_CHECKED]
    assert {"Label Studio", "project 5"} <= set(late)
    assert exit_status(findings) == 2


# -- the webhook ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "verdict", "words"),
    [
        (200, "ok", "its webhook 7 sends us all events, and they are taken"),
        (401, "wrong", "its webhook 7 sends us all events, and the server at"),
    ],
)
def test_a_webhook_that_the_server_refuses_is_told(
    script: Script, tmp_path: Path, status: int, verdict: str, words: str
) -> None:
    """The server of label-studio-ml 2.x refuses webhooks without Basic auth."""
    settings = settings_for(script, tmp_path)
    project = Project(5, "secret")
    model = {"id": 1, "url": script.url, "state": "CO", "basic_auth_user": "active-sampler"}
    webhook = {
        "id": 7,
        "project": 5,
        "url": f"{script.url}/webhook",
        "headers": {SECRET_HEADER: "secret"},
        "send_for_all_actions": True,
    }

    def answer(method: str, path: str, authorization: str | None) -> Answer:
        if method == "POST":
            assert path == "/webhook"
            return status, {}, b"{}"
        return 200, {}, json.dumps([model if path.startswith("/api/ml/") else webhook]).encode()

    script.answer = answer
    client = LabelStudioClient(settings)
    reached, found = check_registration(client, settings, project)
    assert reached.verdict is Verdict.OK
    assert (found.verdict.value, words in found.what) == (verdict, True)
    assert json.loads(script.bodies[-1])["project"]["id"] == 5
    model["basic_auth_user"] = ""  # of an earlier version, or added by hand a moment ago
    _, unsafe, _ = check_registration(client, settings, project)
    client.close()
    assert unsafe.verdict is Verdict.WARNING
    assert "*Start training* is refused" in unsafe.what
