"""The status page in a real browser: accessible, readable on a phone, in the dark, without script.

Screenshots of every combination are left in the folder that STATUS_PAGE_SHOTS names, if any.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import page_state
import pytest
from active_learn_backend.errors import ContentError
from active_learn_backend.labelstudio.connection import MODEL_DELETED
from active_learn_backend.learning.quality.replayed_curves import (
    ReplayedCurves,
    save_replayed_curves,
)
from active_learn_backend.settings import Settings, load_settings
from active_learn_backend.state.connection_requests import read_connection_requests
from active_learn_backend.state.counters import record_error
from active_learn_backend.state.model_versions import ModelVersion, add_version
from active_learn_backend.state.round_report import LabelError
from active_learn_backend.state.rounds import finish_round
from active_learn_backend.state.training_status import (
    TrainingStatus,
    output_file,
    record_training,
)
from active_learn_backend.state.unreadable import record_loads
from active_learn_backend.state.worker_heartbeats import record_heartbeat
from active_learn_backend.web.app import create_app
from werkzeug.serving import make_server

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra [dev])")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe (extra [dev])")

EVIL = "<script>document.title='taken over'</script><img src=x onerror=\"document.title='taken'\">"
DESKTOP, PHONE = (1200, 800), (320, 640)
PAGES = ("/", "/projects/3", "/projects/4?target=80", "/projects/5")


#: Of the projects from 6 on.
NOT_ORDERED = (
    {"status": "paused_by_user", "reason": "the task sampling was changed in Label Studio"},
    {"status": "paused", "reason": MODEL_DELETED},
    {"polled_at": 1.0},
    {"status": "paused", "reason": "by `active-learn pause`"},
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs Chromium (Debian's package chromium)")
    with sync_api.sync_playwright() as playwright:
        # The sandbox needs rights that root in a container has not.
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = playwright.chromium.launch(executable_path=program, args=options)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Any]]:
    """A served backend: project 3 of texts, 4 of images, 5 of nothing yet, 6 to 10 not ordered."""
    with pytest.MonkeyPatch.context() as patch:
        for name in Settings.model_fields:
            patch.delenv(name.upper(), raising=False)
        app = create_app(load_settings(model_dir=tmp_path_factory.mktemp("state")))
    runtime = app.extensions["active_learn"]
    texts = [f"{EVIL} and more words, number {n}. " * 4 for n in range(60)]
    page_state.fill(runtime, contents=texts, title=EVIL)
    record_error(runtime.store, 3, "LabelStudioError", f"Label Studio answered 500: {EVIL}")
    images = [page_state.picture(color=f"#{37 * n % 256:02x}60a0") for n in range(60)]
    store = page_state.fill(runtime, number=4, config=page_state.IMAGE_CONFIG, contents=images)
    long = "direct_debit_payment_not_recognised"
    wrong = (LabelError(101, "car", "dog", 0.97), LabelError(102, long, f"{long}_again", 0.9))
    for round_ in range(3, 10):
        estimate = page_state.audit(1 - 0.6 * round_**-0.5, 6 * round_, 0.6 / round_)
        report = page_state.report(12 * round_, estimate, round_, label_errors=wrong)
        plan = page_state.automation(12 * round_, 1 - 1.5 / round_)
        finish_round(store, 4, replace(report, automation=plan), labels=0, tasks=0)
    replayed = [0.3, 0.5, 0.6, 0.65]
    curves = ReplayedCurves("c", [20, 40, 70, 100], {"random": replayed, "auto": replayed})
    save_replayed_curves(runtime.settings, 4, curves)
    add_models(runtime, 4)
    store.register(5)
    for number, values in enumerate(NOT_ORDERED, 6):
        store.register(number)
        store.update(number, **values)
    keys = [f"{n:032x}" for n in range(50)]
    page_state.fill(runtime, number=10)
    record_loads(store, 10, keys, dict.fromkeys(keys, ContentError("no such file")))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.port}", runtime
    server.shutdown()
    thread.join()


def add_models(runtime: Any, project: int) -> None:
    """Give a project an own model with a candidate, and a training that is under way."""
    settings = runtime.settings
    made = ModelVersion(0, "MODEL", "team.onnx", "team.onnx", "a" * 12, time.time() - 9000)
    served = add_version(settings, project, made, Path.mkdir)
    trained = replace(
        made, origin="training", source="TRAIN_COMMAND", digest="b" * 12, labels=120, audit=30,
        metric="accuracy", quality=0.7, served_quality=0.8, compared_with=served.name,
        reason=f"it is worse than what serves {EVIL}",
    )  # fmt: skip
    add_version(settings, project, trained, Path.mkdir)
    runtime.store.update(project, served_model=served.number, next_model=served.number)
    running = TrainingStatus(
        "running", "TRAIN_COMMAND", 140, 35, "c" * 16, time.time() - 600, progress=0.42
    )
    record_training(settings, project, running)
    output_file(settings, project).write_text(f"epoch 1: loss 0.3 {EVIL} {'wide ' * 40}\n" * 30)


@pytest.fixture
def open_page(browser: Any, site: tuple[str, Any]) -> Iterator[Callable[..., Any]]:
    """``open_page(path, size, scheme)`` -> a loaded page that fails the test on errors of it."""
    contexts, problems = [], []

    def load(
        path: str, size: tuple[int, int] = DESKTOP, scheme: str = "light", script: bool = True
    ) -> Any:
        width, height = size
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme=scheme,
            java_script_enabled=script,
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(dialog.message))
        page.goto(site[0] + path)
        page.wait_for_load_state("networkidle")
        return page

    yield load
    for context in contexts:
        context.close()
    assert problems == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
@pytest.mark.parametrize("path", PAGES)
def test_pages_are_accessible_and_fit(
    open_page: Callable[..., Any], path: str, size: tuple[int, int], scheme: str
) -> None:
    page = open_page(path, size, scheme)
    found = axe.Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    if os.environ.get("STATUS_PAGE_SHOTS"):
        place = path.partition("?")[0].strip("/").replace("/", "-") or "index"
        name = f"{place}-{scheme}-{size[0]}.png"
        page.screenshot(path=Path(os.environ["STATUS_PAGE_SHOTS"]) / name, full_page=True)


def test_axe_finds_what_is_wrong(open_page: Callable[..., Any]) -> None:
    """That the check above can fail: a picture without words, taken into our page."""
    page = open_page("/projects/4")
    page.evaluate("document.querySelector('main').append(new Image())")
    assert axe.Axe().run(page).violations_count == 1


def test_dark_is_dark(open_page: Callable[..., Any]) -> None:
    look = "getComputedStyle(document.body).backgroundColor"
    assert open_page("/").evaluate(look) == "rgb(246, 247, 249)"
    assert open_page("/", scheme="dark").evaluate(look) == "rgb(17, 21, 27)"


def test_untrusted_words_stay_words(open_page: Callable[..., Any]) -> None:
    page = open_page("/projects/3")
    assert page.locator("h1").inner_text().startswith("<script>document.title=")
    assert page.evaluate("document.title") == EVIL
    assert page.locator("script").count() == 1
    assert page.locator(".tasks img").count() == 0


def test_images_are_loaded(open_page: Callable[..., Any]) -> None:
    page = open_page("/projects/4", (1200, 3000))
    sizes = page.evaluate("[...document.images].map(one => one.naturalWidth)")
    assert sizes == [192] * 12


def test_the_essentials_need_no_script(open_page: Callable[..., Any], site: Any) -> None:
    page = open_page("/projects/4", script=False)
    for words in ("24 of 60", "Is it", "Next in the queue", "head-2"):
        assert words in page.locator("main").inner_text()
    assert page.locator("#quality svg.curve polyline").count() == 2  # its own, and random's
    assert page.locator("#automatic svg.curve polyline").count() == 4
    page.get_by_label("Good enough").fill("80 %")
    page.get_by_role("button", name="Compare").click()
    page.wait_for_load_state("networkidle")
    assert page.locator("#quality svg.curve .target").count() == 1
    assert "Target performance" in page.locator("#quality").inner_text()
    yes = page.get_by_role("button", name="Yes, use head-1")
    assert not yes.is_visible()  # it asks first
    page.locator("summary", has_text="Go back").last.press("Enter")
    yes.click()
    page.wait_for_load_state("networkidle")
    assert site[1].store.project(4).pinned_round == 1
    assert "head-1 is used for answers and ordering" in page.locator("main").inner_text()
    page.get_by_role("button", name="Use the latest head again").click()
    page.wait_for_load_state("networkidle")
    assert site[1].store.project(4).pinned_round == 0


def test_the_page_keeps_itself_fresh(open_page: Callable[..., Any], site: Any) -> None:
    record_heartbeat(site[1].store, "here/1/abc")
    page = open_page("/projects/5")
    assert "first time" in page.locator("#now").inner_text()
    site[1].store.update(5, status="paused", reason="by a test")
    page.locator("#now", has_text="not ordered now").wait_for(timeout=20_000)
    site[1].store.update(5, status="active", reason="")


def test_all_of_it_is_reached_by_keyboard(open_page: Callable[..., Any]) -> None:
    page = open_page("/projects/4")
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.textContent.trim()"))
    assert {"Active sampler", "Reload", "As numbers", "Go back"} <= reached


ATTACK = """async ([site, bodies]) => {
    const kinds = ["text/plain", "application/x-www-form-urlencoded", "application/json"]
    for (const [path, body] of Object.entries(bodies))
        for (const kind of kinds)
            for (const mode of ["no-cors", "cors"])
                await fetch(site + path, {
                    method: "POST", mode, body: JSON.stringify(body), credentials: "include",
                    headers: {"Content-Type": kind},
                }).catch(() => null)
}"""


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])  # of another site, of the same site
def test_a_foreign_page_changes_nothing(browser: Any, site: tuple[str, Any], name: str) -> None:
    """What a page that an operator visits can make the browser send, as the browser sends it."""
    address, runtime = site
    seen: list[tuple[str, str]] = []

    def foreign(environ: dict[str, Any], start: Callable[..., Any]) -> list[bytes]:
        start("200 OK", [("Content-Type", "text/html")])
        return [b"<!doctype html><title>Foreign</title>"]

    server = make_server("127.0.0.1", 0, foreign, threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    setup = {"project": "77", "schema": page_state.TEXT_CONFIG, "extra_params": {"budget": 1000}}
    event = {"action": "START_TRAINING", "project": {"id": 3}}
    bodies = {
        "/setup": setup,
        "/predict": {"project": "3", "tasks": [{"id": 1, "data": {}}]},
        "/webhook": event,
        "/train": {"project": "3"},
    }
    before = runtime.store.projects()
    context = browser.new_context()
    page = context.new_page()
    page.on("response", lambda answer: seen.append((answer.request.method, str(answer.status))))
    page.goto(f"http://{name}:{server.port}/")
    page.evaluate(ATTACK, [address, bodies])
    context.close()
    server.shutdown()
    thread.join()
    # Six tries a route: those that the browser sends at all are refused.
    refused = [status for method, status in seen if method == "POST"]
    assert len(refused) >= 12
    assert set(refused) == {"403"}
    assert runtime.changes.flush(timeout=10)
    assert runtime.store.projects() == before
    assert read_connection_requests(runtime.store) == []
