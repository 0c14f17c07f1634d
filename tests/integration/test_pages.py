"""The status page over HTTP: who gets what, what is escaped, what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import page_state
import pytest
from active_learn_backend.learning.quality.head_versions import list_versions
from active_learn_backend.learning.quality.replayed_curves import (
    ReplayedCurves,
    save_replayed_curves,
)
from active_learn_backend.state.counters import record_error
from active_learn_backend.state.folders import project_folder
from active_learn_backend.state.round_report import ControlReport, Evaluation, LabelError
from active_learn_backend.state.rounds import finish_round
from active_learn_backend.state.schema import rounds
from active_learn_backend.state.tasks import apply_changes, read_tasks
from flask.testing import FlaskClient
from page_requests import BROWSER, OURS, html

EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'"


pytestmark = pytest.mark.usefixtures("clean_environment")


# -- who gets what ------------------------------------------------------------------------------


def test_label_studio_still_gets_its_health(client: FlaskClient) -> None:
    for headers in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
        answer = client.get("/", headers=headers)
        assert answer.get_json()["status"] == "UP"
    assert client.get("/health", headers=BROWSER).get_json()["status"] == "UP"


def test_what_runs_labeled_is_shown_apart(client: FlaskClient, runtime: Any) -> None:
    page_state.fill(runtime)
    assert "Labeled automatically" not in html(client, "/projects/3")
    rows = read_tasks(runtime.store, 3)[30:42]
    apply_changes(runtime.store, 3, [replace(row, run=7) for row in rows])
    page = re.sub(r"<[^>]+>", "", html(client, "/projects/3"))
    assert re.search(r"Labeled24 of 60\s+Labeled automatically12 by run 7\s", page)


def test_a_browser_gets_the_projects(client: FlaskClient, runtime: Any) -> None:
    assert "No project is connected yet" in html(client, "/")
    page_state.fill(runtime)
    page = html(client, "/")
    assert "Fruit, vehicles and animals" in page
    assert 'href="/projects/3"' in page
    assert "Project 3: 24 of 60 tasks labeled" in page  # two projects may bear one name


def test_a_project_as_page_and_as_json(client: FlaskClient, runtime: Any) -> None:
    page_state.fill(runtime)
    page = html(client, "/projects/3")
    for part in ("Connected", "24", "An example of number 24", "head-2", "accuracy 90\u00a0%"):
        assert part in page, part
    assert "Drawn at random" in page
    assert "Too early to tell" in page
    for path in ("/projects/3.json", "/projects/3"):
        said = client.get(path).get_json()
        assert said["summary"]["counts"]["labeled"] == 24
        assert [one["task_id"] for one in said["queue"][:2]] == [124, 125]
        assert [point["labels"] for point in said["controls"][0]["curve"]] == [12, 24]
    (one,) = client.get("/projects.json").get_json()
    assert one["title"] == "Fruit, vehicles and animals"


def test_a_project_without_anything_has_a_page(client: FlaskClient, runtime: Any) -> None:
    runtime.store.register(3)
    page = html(client, "/projects/3")
    for part in ("Project 3", "No task is queued now", "Nothing is measured", "No head is trained"):
        assert part in page


def test_beside_an_own_model_nobody_waits_for_a_head(client: FlaskClient, runtime: Any) -> None:
    runtime.store.register(3)
    runtime.store.update(3, model_version="model-0123abcd")
    page = html(client, "/projects/3")
    assert "Your own model answers (<code>model-0123abcd</code>)" in page
    assert "No head is trained yet" not in page
    assert list_versions(runtime.settings, runtime.store, 3) == [
        "your own model answers (model-0123abcd); no head is trained beside it"
    ]


def test_a_project_whose_sampling_was_changed_is_amber_with_the_command(
    client: FlaskClient, runtime: Any
) -> None:
    store = page_state.fill(runtime)
    reason = "the task sampling was changed to 'Sequential sampling' in Label Studio"
    store.update(3, status="paused_by_user", reason=reason)
    for path in ("/", "/projects/3"):
        page = html(client, path)
        assert '<span class="badge amber">Paused: sampling changed</span>' in page
        assert '<p class="condition amber">The task sampling was changed' in page
        assert "<code>active-learn resume --project 3</code>" in page
        assert "Connected" not in page


def test_an_unknown_project_is_said_to_be_unknown(client: FlaskClient) -> None:
    answer = client.get("/projects/9", headers=BROWSER)
    assert answer.status_code == 404
    assert "active-learn connect --project 9" in answer.get_data(as_text=True)
    assert client.get("/projects/9.json").status_code == 404
    assert client.get("/projects/9/tasks/1.jpg").status_code == 404
    assert client.post("/projects/9/rollback", headers=OURS).status_code == 404
    assert client.get("/projects/x", headers=BROWSER).status_code == 404
    assert client.get(f"/projects/{10**30}", headers=BROWSER).status_code == 404


def test_regression_and_label_errors_are_shown(client: FlaskClient, runtime: Any) -> None:
    store = page_state.fill(runtime)
    error = page_state.audit(1.25, 40, metric="mean absolute error")
    found = [
        {"task_id": 101, "label": "car", "suggested": "dog", "confidence": 0.97},
        LabelError(102, ["a", "b"], [], None),
        LabelError(103, 4.0, 2.5, None),
    ]
    report = page_state.report(36, error, 3, label_errors=tuple(found))
    finish_round(store, 3, report, labels=0, tasks=0)
    page = html(client, "/projects/3")
    assert "mean absolute error 1.25" in page
    assert "Labels that look wrong" in page
    assert "a, b" in page


def test_few_audit_labels_are_counted_and_measure_nothing(
    client: FlaskClient, runtime: Any
) -> None:
    store = page_state.fill(runtime)
    last = page_state.report(36, page_state.audit(1.0, 9), 3)
    controls = tuple(
        replace(one, audit=9, evaluation=Evaluation(page_state.audit(1.0, 9)))
        for one in last.controls
    )
    finish_round(store, 3, replace(last, controls=controls), labels=0, tasks=0)
    with store.write() as connection:
        connection.execute(rounds.delete().where(rounds.c.round < 3))
    page = html(client, "/projects/3")
    assert "9 of them have a label, 1 more is needed" in page
    assert "accuracy 100" not in page


def test_each_control_has_its_place_on_the_page(client: FlaskClient, runtime: Any) -> None:
    config = page_state.TEXT_CONFIG.replace(
        "</View>", '<Number name="weight &lt;kg&gt;" toName="t"/></View>'
    )
    store = page_state.fill(runtime, config=config)
    weight = ControlReport(
        "weight <kg>",
        12,
        10,
        Evaluation(page_state.audit(1.25, 10, metric="mean absolute error")),
        (LabelError(102, 4.0, 2.5, None),),
    )
    first = page_state.report(36, page_state.audit(0.5, 20), 3)
    report = replace(first, controls=(*first.controls, weight))
    finish_round(store, 3, report, labels=0, tasks=0)
    page = html(client, "/projects/3")
    for part in ("classification, regression", "<h3>c</h3>", "<h3>weight &lt;kg&gt;</h3>",
                 "accuracy 50", "mean absolute error 1.25", "c: Is it",
                 "<td>weight &lt;kg&gt;</td>"):  # fmt: skip
        assert part in page, part
    for number in (1, 2):
        assert page.count(f'id="curve-title-{number}"') == 1
    assert "weight &lt;kg&gt;: Is it" not in page  # the head without a name is the first control's
    said = client.get("/projects/3.json").get_json()
    assert [one["name"] for one in said["controls"]] == ["c", "weight <kg>"]
    assert [point["control"] for point in said["summary"]["quality"]] == ["c", "weight <kg>"]
    index = html(client, "/")
    assert "c: accuracy 50" in index
    assert "weight &lt;kg&gt;: mean absolute error 1.25" in index


# -- nothing that is shown can be trusted -------------------------------------------------------


def test_everything_shown_is_escaped(client: FlaskClient, runtime: Any) -> None:
    config = page_state.TEXT_CONFIG.replace("apple", "&lt;script&gt;alert(3)&lt;/script&gt;")
    store = page_state.fill(runtime, contents=[EVIL] * 60, title=EVIL)
    store.update(3, status="paused_by_user", reason=EVIL, label_config=config)
    record_error(store, 3, "Error", EVIL)
    errors = (LabelError(1, EVIL, EVIL, 0.5),)
    report = page_state.report(36, page_state.audit(0.5, 9), 3, label_errors=errors)
    finish_round(store, 3, report, labels=0, tasks=0)
    record_error(store, 3, "Error", EVIL)
    for path in ("/projects/3", "/"):
        page = html(client, path)
        assert page.count("&lt;script&gt;alert(1)") >= 3
        assert re.findall(r"<script[^>]*>", page) == ['<script src="/pages/refresh.js" defer>']
        assert not re.search(r"<[^>]*\sonerror", page.replace("&lt;", ""))
        assert "<img src=x" not in page
    json.loads(client.get("/projects/3.json").data)


def test_pages_forbid_what_might_slip_through(client: FlaskClient, runtime: Any) -> None:
    page_state.fill(runtime)
    for path in ("/", "/projects/3", "/projects/3.json", "/projects/9", "/pages/style.css"):
        headers = client.get(path, headers=BROWSER).headers
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; style-src 'self'; img-src 'self' data:")
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Referrer-Policy"] == "same-origin"
    page = html(client, "/projects/3")
    assert not re.search(r"\sstyle=|<style|\son\w+=", page)  # the policy forbids them
    assert not re.search(r'(src|href)="(https?:)?//(?!localhost:8080)', page)  # no CDN


def test_static_files_are_only_ours(client: FlaskClient) -> None:
    assert client.get("/pages/style.css").status_code == 200
    for path in ("/pages/../app.py", "/pages/%2e%2e/templates/base.html", "/pages/templates"):
        assert client.get(path).status_code == 404


# -- what could be labeled automatically, and what is good enough --------------------------------


def test_what_the_head_could_label_is_shown_with_what_people_check(
    client: FlaskClient, runtime: Any
) -> None:
    page_state.fill(runtime)
    assert "What the head could label" not in html(client, "/projects/3")
    for round_, share in ((3, 0.4), (4, 0.7)):
        report = page_state.report(12 * round_, page_state.audit(0.9, 30), round_)
        plan = page_state.automation(12 * round_, share)
        finish_round(runtime.store, 3, replace(report, automation=plan), labels=0, tasks=0)
    page = re.sub(r"<[^>]+>", " ", html(client, "/projects/3")).replace("&nbsp;", " ")
    assert re.search(r"95 %\s+1,200\s+60 %\s+80\s", page)
    assert re.search(r"99 %\s+300\s+15 %\s+260\s", page)
    assert "Of 2,000 tasks that had no label when there were 48 labels" in page
    assert "Too early to tell what more labels would buy at 95 %" in page
    (last,) = client.get("/projects/3.json").get_json()["automation"][-1:]
    assert [share["tasks"] for share in last["shares"]] == [1400, 1200, 800, 300]


@pytest.mark.parametrize(
    ("given", "target"),
    [("95", 0.95), ("0.95", 0.95), ("95 %", 0.95), ("95,0", 0.95), ("", None), ("x", None),
     ("nan", None), ("-1", None), ("inf", None)],
)  # fmt: skip
def test_a_target_is_compared_with_what_was_measured(
    client: FlaskClient, runtime: Any, given: str, target: float | None
) -> None:
    page_state.fill(runtime)
    (control,) = client.get("/projects/3.json", query_string={"target": given}).get_json()[
        "controls"
    ]
    assert control["target"] == target
    said = [one["criterion"] for one in control["advice"]]
    assert ("target performance" in said) == (target is not None)
    page = client.get("/projects/3", query_string={"target": given}, headers=BROWSER)
    assert ('class="target" x1' in page.get_data(as_text=True)) == (target is not None)


def test_random_order_is_drawn_beside_the_curve_that_was_replayed(
    client: FlaskClient, runtime: Any
) -> None:
    page_state.fill(runtime)
    for control, drawn in (("other", False), ("c", True)):
        said = "No strategy would clearly have saved labels."
        curves = ReplayedCurves(control, [10, 20], {"random": [0.4, 0.6]}, said)
        save_replayed_curves(runtime.settings, 3, curves)
        caption = f"random order, in the last backtest of the labels. {said}"
        assert (caption in html(client, "/projects/3")) == drawn
    path = project_folder(runtime.settings, 3) / "backtest.json"
    for damaged in ("{", "[]", '{"control": "c", "labels": ["x"], "scores": {}}'):
        path.write_text(damaged)
        assert "random order" not in html(client, "/projects/3")
