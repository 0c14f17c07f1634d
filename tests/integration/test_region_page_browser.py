"""The status page of a project whose spans are labeled, on a phone: it fits and is accessible.

Screenshots are left in the folder that STATUS_PAGE_SHOTS names, if any.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from active_learn_backend.demo import entities
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.state.queue import read_queue
from active_learn_backend.state.rounds import last_round
from active_learn_backend.web.app import create_app
from fake_label_studio import FakeLabelStudio
from werkzeug.serving import make_server
from worker_backend import Backend

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra [dev])")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe (extra [dev])")

WIDTH = 390
UNBROKEN = "https://example.com/" + "unbroken" * 20


@pytest.fixture
def page_address(backend: Backend, studio: FakeLabelStudio) -> Iterator[str]:
    """The page of a project of entities after four rounds, of which some labels measure."""
    sentences = entities.load()
    pool = sentences.pool[:60].tolist()
    texts = {at: f"{sentences.texts[at]} {UNBROKEN}" for at in pool}
    truth = {texts[at]: [list(span) for span in sentences.spans[at]] for at in pool}
    (control,) = parse_label_config(entities.LABEL_CONFIG).controls
    project = studio.add_project(list(truth), entities.LABEL_CONFIG)
    backend.store.register(project)
    backend.store.update(project, mode="pull")
    settings = {"audit": 0.5, "budget": 12}
    for _ in range(3):
        backend.turn(project, **settings)
        for row in read_queue(backend.store, project)[:12]:
            answer = truth[studio.tasks[row.task_id]["data"]["text"]]
            studio.submit(row.task_id, control.write(answer))
    backend.turn(project, **settings)
    report = last_round(backend.store, project)
    assert report is not None
    assert report.controls[0].evaluation.audit is not None
    server = make_server("127.0.0.1", 0, create_app(backend.settings()), threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.port}/projects/{project}"
    server.shutdown()
    thread.join()


def test_the_page_of_regions_fits_a_phone_in_light_and_dark(page_address: str) -> None:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs Chromium (Debian's package chromium)")
    with sync_api.sync_playwright() as playwright:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=program, args=options)
        for scheme in ("light", "dark"):
            page = browser.new_page(viewport={"width": WIDTH, "height": 800}, color_scheme=scheme)
            page.goto(page_address)
            page.wait_for_load_state("networkidle")
            said = page.locator("main").inner_text()
            assert "entity F1" in said
            assert "words unsure" in said
            assert "on average over the words" in said
            assert page.evaluate("document.documentElement.scrollWidth") <= WIDTH
            found = axe.Axe().run(page)
            assert found.violations_count == 0, found.generate_report()
            if os.environ.get("STATUS_PAGE_SHOTS"):
                place = Path(os.environ["STATUS_PAGE_SHOTS"]) / f"regions-{scheme}-{WIDTH}.png"
                page.screenshot(path=place, full_page=True)
        browser.close()
