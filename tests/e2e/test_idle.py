"""What many projects cost in which nothing changes, on a real Label Studio. `make soak`."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from active_learn_backend.demo.label_studio import LabelStudioServer
from active_learn_backend.demo.process import wait_until
from active_learn_backend.labelstudio.client import LabelStudioClient
from active_learn_backend.labelstudio.connection import Connection
from active_learn_backend.labelstudio.http import LabelStudioHTTP
from active_learn_backend.settings import load_settings
from active_learn_backend.state.store import Store
from active_learn_backend.worker import pace
from active_learn_backend.worker.loop import Worker
from fake_server import Script

PROJECTS = 30
PERIOD = {"push": 300.0, "pull": 120.0}  # seconds in which each project is read once
MOST_REQUESTS = 60  # a minute
MOST_CPU = 0.01  # of a core


@pytest.fixture
def web_process() -> Iterator[Script]:
    """What Label Studio calls as the model, outside the measured process's work."""
    script = Script()
    body = json.dumps({"status": "UP", "model_version": "head-1"}).encode()
    script.answer = lambda *_: (200, {"Content-Type": "application/json"}, body)
    yield script
    script.close()


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths that were asked of Label Studio."""
    asked: list[str] = []
    send = LabelStudioHTTP._send

    def count(client: LabelStudioHTTP, method: str, path: str, **kwargs: object) -> object:
        asked.append(path)
        return send(client, method, path, **kwargs)

    monkeypatch.setattr(LabelStudioHTTP, "_send", count)
    return asked


@pytest.mark.soak
@pytest.mark.parametrize("mode", ["push", "pull"])
def test_thirty_idle_projects_cost_little(
    label_studio: LabelStudioServer,
    make_text_project: Callable[..., tuple[int, list[int]]],
    web_process: Script,
    requests: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
) -> None:
    # As after an hour without a change.
    monkeypatch.setattr(pace, "QUIET_SHARE", 1000.0)
    settings = load_settings(
        label_studio_url=label_studio.url,
        label_studio_api_key=label_studio.token,
        backend_url=web_process.url,
        model_dir=tmp_path,
    )
    client, store = LabelStudioClient(settings), Store(settings.store_url)
    for number in range(PROJECTS):
        project, _ = make_text_project([f"text {n}" for n in range(20)], f"idle {mode} {number}")
        Connection(client, store, settings, project).connect(pull=mode == "pull")
    worker = Worker(settings, store, client)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        wait_until(
            lambda: all(one.queue_version for one in store.projects()), timeout=300, what="queues"
        )
        # Read once more after its round, each is due again after its whole period.
        wait_until(
            lambda: all(one.change_seq == one.processed_seq for one in store.projects()),
            timeout=60,
            what="all changes to be read",
        )
        before, cpu, began = len(requests), time.process_time(), time.monotonic()
        time.sleep(PERIOD[mode])  # what is measured is this time
        seconds = time.monotonic() - began
        cpu, asked = (time.process_time() - cpu) / seconds, requests[before:]
    finally:
        worker.stopping.set()
        thread.join()
        client.close()
        store.close()
    rate = len(asked) / seconds * 60
    print(f"{PROJECTS} projects, {mode}: {rate:.1f} requests a minute, {100 * cpu:.2f} % of a core")
    assert len(asked) >= 2 * (PROJECTS - 2)  # they are read
    assert rate < MOST_REQUESTS
    assert cpu < MOST_CPU
