"""/metrics says how the project state is and how requests were answered; /health what ails it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from active_learn_backend.demo.process import free_port, wait_until
from active_learn_backend.settings import load_settings
from active_learn_backend.state.counters import read_counters, record_error
from active_learn_backend.state.queue import set_queue
from active_learn_backend.state.round_report import ControlReport, Estimate, Evaluation, RoundReport
from active_learn_backend.state.rounds import finish_round
from active_learn_backend.state.store import QueueRow, Store, TaskRow
from active_learn_backend.state.tasks import apply_changes
from active_learn_backend.state.worker_heartbeats import record_heartbeat, worker_heartbeats
from active_learn_backend.web.app import create_app
from active_learn_backend.web.health import Health
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(text: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float | None:
    return found.get((f"active_learn_{name}", frozenset(labels.items())))


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    return create_app(load_settings(model_dir=tmp_path))


@pytest.fixture
def store(app: Flask) -> Iterator[Store]:
    opened: Store = app.extensions["active_learn"].store
    yield opened
    opened.close()


def scrape(app: Flask) -> Samples:
    answer = app.test_client().get("/metrics")
    assert answer.status_code == 200
    assert answer.content_type.startswith("text/plain")
    return samples(answer.get_data(as_text=True))


def test_the_project_state_is_read_at_each_scrape(app: Flask, store: Store) -> None:
    store.register(3)
    rows = [
        TaskRow(n, {"t": n}, f"{n:032x}", {"c": "A"} if n == 1 else None, False) for n in range(5)
    ]
    apply_changes(store, 3, rows)
    set_queue(store, 3, "al-2", [QueueRow(n, n, n < 3, 0.5, 0.5) for n in range(5)])
    for number, seconds in ((1, {"embed": 1.5, "rank": 0.5}), (2, {"embed": 0.25})):
        audit = Estimate("audit", "accuracy", 0.75, 0.5, 0.9, 8, 8.0)
        controls = (ControlReport("c", 1, 1, Evaluation(audit)), ControlReport("size", 2))
        report = RoundReport(number, 1, unlabeled=4, seconds=seconds, controls=controls)
        finish_round(store, 3, report, labels=0, tasks=0)
    for _ in range(2):
        record_error(store, 3, "LabelStudioUnreachableError", "it is at http://studio:8080")
    store.update(3, round=2, polled_at=time.time() - 100)
    store.mark_changed(3)
    record_heartbeat(store, "here/1/a")
    found = scrape(app)
    assert value(found, "store_up") == 1
    assert value(found, "workers") == 1
    assert value(found, "project_status", project="3", status="active") == 1
    assert value(found, "project_status", project="3", status="paused") == 0
    assert value(found, "queue_open_tasks", project="3") == 2
    assert value(found, "queue_batch_tasks", project="3") == 3
    assert value(found, "pending_changes", project="3") == 2
    assert value(found, "pending_labels", project="3") == 1
    assert value(found, "pending_tasks", project="3") == 5
    assert value(found, "labeled_tasks", project="3") == 1
    assert value(found, "unlabeled_tasks", project="3") == 4
    assert value(found, "control_labeled_tasks", project="3", control="size") == 2
    quality = {"project": "3", "control": "c", "metric": "accuracy"}
    assert value(found, "control_quality", **quality) == 0.75
    assert value(found, "unreadable_contents", project="3") == 0
    assert value(found, "round", project="3") == 2
    assert value(found, "failing", project="3") == 1
    assert value(found, "lag_seconds", project="3") == pytest.approx(100, abs=5)
    assert value(found, "round_seconds_count", project="3") == 2
    assert value(found, "round_seconds_sum", project="3") == 2.25
    assert value(found, "round_stage_seconds_count", project="3", stage="embed") == 2
    assert value(found, "round_stage_seconds_sum", project="3", stage="embed") == 1.75
    assert value(found, "round_stage_seconds_count", project="3", stage="rank") == 1
    kind = "LabelStudioUnreachableError"
    assert value(found, "errors_total", project="3", kind=kind) == 2

    store.update(3, status="paused")
    found = scrape(app)
    assert value(found, "project_status", project="3", status="paused") == 1
    assert value(found, "lag_seconds", project="3") is None
    store.forget(3)
    assert value(scrape(app), "errors_total", project="3", kind=kind) is None


def test_counts_are_the_same_on_each_kind_of_database(store_url: str) -> None:
    store = Store(store_url)
    store.register(3)
    for number in (1, 2):
        report = RoundReport(number, labeled=0, seconds={"fit": 0.5})
        finish_round(store, 3, report, labels=0, tasks=0)
    record_error(store, 3, "StoreError", "in words")
    record_heartbeat(store, "here/1/a")
    record_heartbeat(store, "here/1/a")
    counted = {(one.event, one.name): (one.count, one.seconds) for one in read_counters(store)}
    assert counted == {
        ("error", "StoreError"): (1, 0),
        ("round", ""): (2, 1),
        ("stage", "fit"): (2, 1),
    }
    assert list(worker_heartbeats(store)) == ["here/1/a"]
    assert store.known_project(3).last_error == "in words"
    store.close()


def test_labels_are_few_and_tell_nothing(app: Flask, store: Store) -> None:
    store.register(3)
    secret = store.known_project(3).webhook_secret
    record_error(store, 3, "StoreError", "a message about task 12345")
    client = app.test_client()
    for path in ("/nothing/12345", "/x" * 50, "/versions?project=12345"):
        client.get(path)
    client.open("/health", method="BREW")
    text = client.get("/metrics").get_data(as_text=True)
    assert "12345" not in text
    assert secret not in text
    routes = {dict(labels)["route"] for _, labels in samples(text) if "route" in dict(labels)}
    assert routes <= {rule.rule for rule in app.url_map.iter_rules()} | {"none"}
    assert value(samples(text), "request_seconds_count", route="none", status="404")


def test_a_broken_state_is_a_metric(app: Flask, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "state.sqlite3") as connection:
        connection.execute("ALTER TABLE projects RENAME TO gone")
    found = scrape(app)
    assert value(found, "store_up") == 0
    assert value(found, "workers") is None


# -- health -------------------------------------------------------------------------------------


def settled(make: Callable[[], Health]) -> list[str]:
    """Ask until the first look is done: a busy machine may need more than `PATIENCE` for it."""
    health = make()
    wait_until(
        lambda: health.problems() != ["store: has not answered yet"], timeout=20, what="a look"
    )
    return health.problems()


def test_health_lists_the_problems(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look() -> list[str]:
        return settled(lambda: Health(store, tmp_path))

    assert look() == ["worker: none has been seen; start `active-learn worker`"]
    record_heartbeat(store, "here/1/a")
    store.register(3)
    store.register(4)
    assert look() == []
    record_error(store, 3, "LabelConfigError", "no control")
    assert look() == ["projects: the last turn of 3 ended with an error"]
    record_error(store, 4, "LabelStudioUnreachableError", "it does not answer")
    assert look() == [
        "label studio: does not answer the worker",
        "projects: the last turn of 3, 4 ended with an error",
    ]
    record_error(store, 4, "LabelConfigError", "no control")  # so it answers again
    assert look() == ["projects: the last turn of 3, 4 ended with an error"]
    store.update(3, last_error="")
    store.update(4, last_error="")
    with sqlite3.connect(tmp_path / "state.sqlite3") as connection:
        connection.execute("UPDATE workers SET seen_at = seen_at - 100")
    (silent,) = look()
    assert silent.startswith("worker: not seen for 10")
    record_heartbeat(store, "here/2/b")
    usage = shutil.disk_usage(tmp_path)._replace(free=2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    assert look() == ["disk: 1 MiB are left"]


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Keep everybody else from reading and writing."""
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("PRAGMA locking_mode=EXCLUSIVE")
    connection.execute("BEGIN EXCLUSIVE")
    connection.execute("UPDATE meta SET schema_version = schema_version")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


def test_health_answers_in_milliseconds_while_the_state_is_locked(
    app: Flask, store: Store, tmp_path: Path
) -> None:
    client = app.test_client()
    store.close()  # its own connections would keep the lock from us
    with locked(tmp_path / "state.sqlite3"):
        times = []
        for _ in range(40):
            start = time.perf_counter()
            answer = client.get("/health")
            times.append(time.perf_counter() - start)
            assert answer.status_code == 200
            assert answer.get_json()["status"] == "UP"
            assert answer.get_json()["degraded"] == ["store: has not answered yet"]
        assert statistics.median(times) < 0.05
        wait_until(
            lambda: client.get("/health").get_json()["degraded"][0].startswith("store: has not "
                                                                              "answered for"),
            timeout=20,
            what="the store to be said not to answer",
        )  # fmt: skip


# -- the real thing: several web processes and a worker ------------------------------------------


class Served(NamedTuple):
    url: str
    log: Path

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=20) as answer:
            text: str = answer.read().decode()
            return text


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`active-learn serve` with two web processes, for a Label Studio that does not answer."""
    folder = tmp_path_factory.mktemp("served")
    port = free_port()
    log = folder / "log"
    environment = {name: text for name, text in os.environ.items() if not name.startswith("LABEL_")}
    environment |= {
        "MODEL_DIR": str(folder / "state"),
        "PORT": str(port),
        "LABEL_STUDIO_URL": "http://127.0.0.1:9",
        "WEB_PROCESSES": "2",
        "LOG_FORMAT": "json",
        "TMPDIR": str(folder),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "active_learn_backend.cli", "serve"],
            env=environment,
            stderr=output,
        )
    running = Served(f"http://127.0.0.1:{port}", log)
    try:
        wait_until(lambda: _is_well(running), timeout=120, what="web processes and worker")
        yield running
    finally:
        process.terminate()
        assert process.wait(30) == 0
    assert not list(folder.glob("active-learn-metrics-*"))


def _is_well(running: Served) -> bool:
    try:
        said: dict[str, Any] = json.loads(running.get("/health"))
    except OSError:
        return False
    return said["degraded"] == []


def test_requests_are_added_up_over_the_web_processes(served: Served) -> None:
    def answered() -> float:
        found = samples(served.get("/metrics"))
        return value(found, "request_seconds_count", route="/versions", status="200") or 0

    for _ in range(30):
        served.get("/versions")
    # Whichever process is asked, and however often: none says less than all of them together.
    assert {answered() for _ in range(10)} == {30}
    found = samples(served.get("/metrics"))
    assert value(found, "workers") == 1
    assert value(found, "request_seconds_bucket", route="/versions", status="200", le="+Inf") == 30


def test_half_sent_requests_keep_nobody_waiting(served: Served) -> None:
    """Four for each thread of both web processes."""
    host, port = served.url.removeprefix("http://").split(":")
    halves = [
        b"GET /health HTTP/1.1\r\nHost: x\r\nX-Half: ",
        b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
    ]
    with ExitStack() as open_connections:
        for n in range(64):
            slow = open_connections.enter_context(socket.create_connection((host, int(port))))
            slow.sendall(halves[n % 2])
        assert [json.loads(served.get("/health"))["status"] for _ in range(20)] == ["UP"] * 20


def test_every_line_of_the_log_is_json(served: Served) -> None:
    lines = [json.loads(line) for line in served.log.read_text().splitlines()]
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    processes = {line["process"] for line in lines if line["logger"] == "gunicorn.error"}
    assert len(processes) == 3  # gunicorn's own, and one for each web process
    assert any("is ready" in line["message"] for line in lines)
