"""The log: text or JSON, with project and round on a round's lines, and never a secret."""

from __future__ import annotations

import base64
import io
import json
import logging
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from active_learn_backend.demo.process import wait_until
from active_learn_backend.labelstudio.client import LabelStudioClient
from active_learn_backend.logs import JsonFormatter, TextFormatter, bind, context
from active_learn_backend.settings import load_settings
from active_learn_backend.state.store import Store
from active_learn_backend.web.app import create_app
from active_learn_backend.worker.loop import Worker

CONFIG = (
    '<View><Text name="t" value="$text"/><Choices name="c" toName="t">'
    '<Choice value="A"/><Choice value="B"/></Choices></View>'
)


class Capture(logging.Handler):
    """Keeps each record with the line that it makes, formatted where it was logged."""

    def __init__(self, formatter: logging.Formatter) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(formatter)
        self.lines: list[tuple[logging.LogRecord, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record, self.format(record)))


@pytest.fixture
def capture() -> Iterator[dict[str, Capture]]:
    """All that any library logs, at the most talkative level, in both formats."""
    root = logging.getLogger()
    level = root.level
    handlers = {"json": Capture(JsonFormatter()), "text": Capture(TextFormatter())}
    for handler in handlers.values():
        root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handlers
    root.setLevel(level)
    for handler in handlers.values():
        root.removeHandler(handler)


def logged(formatter: logging.Formatter, message: str, *args: Any, **kwargs: Any) -> str:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger = logging.Logger("somewhere")
    logger.addHandler(handler)
    logger.warning(message, *args, **kwargs)
    return stream.getvalue().removesuffix("\n")


def test_lines_bear_the_fields_of_their_context() -> None:
    with context(project=3):
        bind(round=7)
        line = json.loads(logged(JsonFormatter(), "serving %s", "al-7"))
        text = logged(TextFormatter(), "serving %s", "al-7")
        with context(project=4):
            other = logged(TextFormatter(), "was here")
    assert (line["project"], line["round"], line["message"]) == (3, 7, "serving al-7")
    assert (line["level"], line["logger"]) == ("WARNING", "somewhere")
    assert text.endswith(" WARNING somewhere: project 3, round 7: serving al-7")
    assert other.endswith(" somewhere: project 4, round 7: was here")
    outside = json.loads(logged(JsonFormatter(), "project 4: was here"))
    assert outside["message"] == "project 4: was here"  # a message is not read for fields
    assert not {"project", "round"} & set(outside)
    assert logged(TextFormatter(), "was here").endswith(" WARNING somewhere: was here")


def test_a_message_makes_one_line_whatever_is_in_it() -> None:
    forged = "refused\r\n2026-01-01 00:00:00 INFO root: all is well"
    assert len(logged(TextFormatter(), forged).splitlines()) == 1
    assert len(logged(JsonFormatter(), forged + "\u2028\x85").splitlines()) == 1
    try:
        raise ValueError("broken")
    except ValueError:
        line = json.loads(logged(JsonFormatter(), "failed", exc_info=True))
    assert line["traceback"].endswith("ValueError: broken")


class Studio(ThreadingHTTPServer):
    """Answers what a worker asks of a Label Studio: four tasks a project, one without its text."""

    def __init__(self) -> None:
        self.versions: dict[str, str] = {}
        super().__init__(("127.0.0.1", 0), _StudioHandler)
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()

    def answer(self, method: str, path: str, body: Any) -> Any:
        if path == "/api/tasks/":
            stamp = "2026-11-22T07:05:43.492877Z"
            data = [{"text": text} for text in ("pears", "apples", "cars", None)]
            tasks = [{"id": n, "data": one, "updated_at": stamp} for n, one in enumerate(data, 1)]
            return {"tasks": tasks, "total": len(tasks)}
        project = path.split("/")[3]
        if path.endswith("/model-versions/"):
            return {}
        if path.endswith("/import/predictions"):
            return {"created": len(body)}
        if method == "PATCH":
            self.versions[project] = body["model_version"]
        return {
            "id": int(project),
            "label_config": CONFIG,
            "sampling": "Uncertainty sampling",
            "model_version": self.versions.get(project, ""),
            "task_number": 4,
        }


class _StudioHandler(BaseHTTPRequestHandler):
    server: Studio

    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or "null")
        answer = self.server.answer(self.command, urlsplit(self.path).path, body)
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PATCH = do_GET


@pytest.fixture
def studio() -> Iterator[Studio]:
    server = Studio()
    yield server
    server.shutdown()
    server.server_close()


def test_every_line_of_a_round_bears_its_project_and_round(
    tmp_path: Path, studio: Studio, capture: dict[str, Capture]
) -> None:
    key = "5ecre7" * 6 + "abcd"
    settings = load_settings(
        model_dir=tmp_path,
        label_studio_url=f"http://127.0.0.1:{studio.server_port}",
        label_studio_api_key=key,
    )
    store = Store(settings.store_url)
    for number in (9, 10):
        store.register(number)
        store.update(number, sampling_set=True, mode="pull", round=number * 100)
    worker = Worker(settings, store, LabelStudioClient(settings))
    running = threading.Thread(target=worker.run)
    running.start()
    wait_until(lambda: len(studio.versions) == 2, timeout=60, what="both rounds")
    worker.stopping.set()
    running.join()
    lines = [
        (record, json.loads(line))
        for record, line in capture["json"].lines
        if str(record.threadName).startswith("round")
        and record.name.startswith("active_learn_backend")
    ]
    done = {line["project"]: line["round"] for _, line in lines if "round done" in line["message"]}
    assert done == {9: 901, 10: 1001}
    assert all(line["project"] in (9, 10) for _, line in lines)
    inside = [
        line
        for record, line in lines
        if ".learning." in record.name
        or record.name.endswith(("worker.round", "worker.unreadable"))
    ]
    assert {line["project"] for line in inside if "cannot be read" in line["message"]} == {9, 10}
    assert all(line["round"] == done[line["project"]] for line in inside)
    assert not [line for _, line in capture["json"].lines if key in line]
    store.close()


def test_secrets_are_never_logged_and_never_answered(
    tmp_path: Path, capture: dict[str, Capture]
) -> None:
    secrets = [f"{place}-5ecre7-{place}" for place in ("key", "pass", "user", "wrong", "body")]
    key, password, user, wrong, body = secrets
    settings = load_settings(
        model_dir=tmp_path,
        label_studio_api_key=key,
        label_studio_url="http://127.0.0.1:9",
        basic_auth_user="backend",
        basic_auth_pass=password,
    )
    app = create_app(settings)
    client = app.test_client()
    store = app.extensions["active_learn"].store
    store.register(9)
    secrets.append(store.known_project(9).webhook_secret)

    def basic(name: str, given: str) -> dict[str, str]:
        return {"Authorization": "Basic " + base64.b64encode(f"{name}:{given}".encode()).decode()}

    params = {"login": user, "password": body, "context": {"token": body}}
    project = {"id": 9, "token": body, "created_by": {"email": user}}
    event = {"action": "ANNOTATION_CREATED", "project": project, "annotation": {"token": body}}
    requests = [
        ("/setup", {"project": "9", "schema": CONFIG, "access_token": body, "hostname": body}),
        ("/setup", {"project": "9", "schema": body, "access_token": body}),
        ("/setup", {"project": "9", "schema": CONFIG, "extra_params": {"strategy": body}}),
        ("/predict", {"project": "9", "tasks": [{"id": 1, "data": {}}], "params": params}),
        ("/predict", {"project": "9", "tasks": [{"data": body}], "params": params}),
        ("/webhook", event),
        ("/webhook", {"action": body * 20, "project": project}),
        ("/train", {"project": "9", "token": body}),
    ]  # fmt: skip
    headers = [
        basic("backend", password),
        basic("backend", wrong),
        basic(user, password),
        {"Authorization": f"Bearer {wrong}"},
        {"X-Active-Sampler-Secret": secrets[-1]},
        {"X-Active-Sampler-Secret": wrong},
    ]
    answers = [
        client.post(path, json=sent, headers=given) for path, sent in requests for given in headers
    ]
    assert {answer.status_code for answer in answers} == {200, 400, 401}
    assert app.extensions["active_learn"].changes.flush(timeout=10)
    with sqlite3.connect(tmp_path / "state.sqlite3") as connection:  # now each call fails
        connection.execute("ALTER TABLE projects RENAME TO gone")
    answers += [client.post(path, json=sent, headers=headers[0]) for path, sent in requests[:6]]
    assert answers[-1].status_code == 200
    assert {answer.status_code for answer in answers[-6:-1]} == {400, 503}
    assert app.extensions["active_learn"].changes.flush(timeout=10)
    logs = [line for handler in capture.values() for _, line in handler.lines]
    assert any("no such table: projects" in line for line in logs)
    said = logs + [answer.get_data(as_text=True) + answer.status for answer in answers]
    # What a user typed into the extra params is said back to them; nowhere else is a secret said.
    told = [line for line in said if any(secret in line for secret in secrets)]
    assert all("strategy" in line for line in told), told
    assert not [line for line in logs if any(secret in line for secret in secrets)]
    store.close()
