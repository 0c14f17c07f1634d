"""The status page of a real project: its queue is the one that Label Studio serves."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from active_learn_backend.demo.annotator import Submission
from active_learn_backend.demo.label_studio import LabelStudioServer
from active_learn_backend.demo.process import wait_until
from harness import Harness
from PIL import Image

BROWSER = {"Accept": "text/html"}


def test_the_page_shows_a_real_project(
    label_studio: LabelStudioServer,
    make_digits_project: Callable[..., int],
    label_digits: Callable[..., list[Submission]],
    harness: Harness,
) -> None:
    project = make_digits_project(100, "Digits <b>& more</b>")
    harness.connect(project, budget=6, reserve=20, retrain_every=6, audit=0.5)
    server = harness.backend
    with httpx.Client(base_url=server.url, trust_env=False, timeout=20) as http:

        def look() -> dict[str, Any]:
            found: dict[str, Any] = http.get(f"/projects/{project}.json").raise_for_status().json()
            return found

        wait_until(lambda: look()["queue"], timeout=60, what="the first queue")
        label_digits(project, 26)  # so that at least ten of them measure
        wait_until(
            lambda: look()["summary"]["counts"]["labeled"] == 26 and look()["controls"][0]["curve"],
            timeout=60,
            what="all labels and a curve on the page",
        )
        wait_until(
            lambda: look()["summary"]["now"]["words"].startswith("Waiting for labels"),
            timeout=60,
            what="the end of the round",
        )
        status = look()
        assert status["summary"]["title"] == "Digits <b>& more</b>"
        assert status["summary"]["state"] == "Connected"
        assert status["errors"] == []
        assert sum(count for _, count in status["controls"][0]["balance"]) == 26
        chosen = [one for one in status["queue"] if not one["audit"]]
        assert all(len(one["top_labels"]) == 2 for one in chosen)
        served = label_studio.api("GET", f"/api/projects/{project}/next")
        assert served["id"] == status["queue"][0]["task_id"]

        page = http.get(f"/projects/{project}", headers=BROWSER).text
        assert "Digits &lt;b&gt;&amp; more&lt;/b&gt;" in page
        picture = http.get(f"/projects/{project}/tasks/{served['id']}.jpg").raise_for_status()
        image = Image.open(io.BytesIO(picture.content))
        assert (image.format, image.size) == ("JPEG", (64, 64))

        version = status["versions"][-1]["name"]
        go_back(server.url, project, version)
        assert any(one["name"] == version and one["pinned"] for one in look()["versions"])
        wait_until(
            lambda: look()["summary"]["now"]["words"].startswith("Waiting for labels"),
            timeout=60,
            what="the round with the earlier head",
        )
        assert look()["errors"] == []


def go_back(url: str, project: int, version: str) -> None:
    """Press the button of a version in a browser."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright (extra [dev])")
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("needs Chromium (Debian's package chromium)")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"{url}/projects/{project}")
        row = page.locator("#versions tr").filter(has=page.get_by_text(version, exact=True))
        row.locator("summary").click()  # it asks once
        row.get_by_role("button", name=f"Yes, use {version}").click()
        page.get_by_text("is used for answers and ordering until").wait_for(timeout=20_000)
        browser.close()
