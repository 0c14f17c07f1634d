"""A project so large that Label Studio stores a queue for longer than we wait. `make soak`."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from active_learn_backend.demo.label_studio import LabelStudioServer
from active_learn_backend.demo.process import wait_until
from active_learn_backend.labelstudio.client import LabelStudioClient
from active_learn_backend.labelstudio.connection import Connection
from active_learn_backend.labelstudio.publication import Publication
from active_learn_backend.settings import load_settings
from active_learn_backend.state.store import Store
from active_learn_backend.worker.loop import Worker
from harness import TEXT_CONFIG

TASKS, AT_ONCE = 100_000, 10_000
TIMEOUT = 1.0  # seconds; Label Studio recounts 100,000 tasks for several


@pytest.mark.soak
def test_a_slow_import_of_a_large_project_is_one_version(
    label_studio: LabelStudioServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(Publication, "timeout", TIMEOUT)
    body = {"title": "Large", "label_config": TEXT_CONFIG}
    project = label_studio.api("POST", "/api/projects/", body)["id"]
    for start in range(0, TASKS, AT_ONCE):
        texts = [{"text": f"number {n} of {n * 37 % 101}"} for n in range(start, start + AT_ONCE)]
        label_studio.api("POST", f"/api/projects/{project}/import", texts, timeout=600)
    settings = load_settings(
        label_studio_url=label_studio.url,
        label_studio_api_key=label_studio.token,
        model_dir=tmp_path,
    )
    client, store = LabelStudioClient(settings), Store(settings.store_url)
    began = time.monotonic()
    Connection(client, store, settings, project).connect(pull=True)
    worker = Worker(settings, store, client)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        wait_until(
            lambda: store.known_project(project).queue_version,
            timeout=900,
            what="the first queue",
            interval=0.5,
        )
        first = time.monotonic() - began
        wait_until(
            lambda: store.known_project(project).lease_owner is None,
            timeout=300,
            what="the end of the turn",
        )
        served = client.project(project)["model_version"]
        versions = client.model_versions(project)
    finally:
        worker.stopping.set()
        thread.join()
        client.close()
        store.close()
    print(f"{TASKS:,} tasks: the first queue after {first:.0f} s")
    assert "looking which rows of al-1 are there" in caplog.text  # it did take longer
    assert served == "al-1"
    assert versions == {"al-1": 50}
