"""Rounds and their reports."""

from __future__ import annotations

import dataclasses
import json

import pytest
import sqlalchemy as sa
from active_learn_backend.state.round_report import (
    FORMAT_VERSION,
    ControlReport,
    Evaluation,
    RoundReport,
)
from active_learn_backend.state.rounds import finish_round, last_round, read_rounds
from active_learn_backend.state.store import Store
from active_learn_backend.state.tasks import apply_changes
from state_rows import task


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "it is no JSON"),
        ("[]", "its format is None"),
        (json.dumps({"labeled": 1}), "its format is None"),
        (json.dumps({"format": 99, "labeled": 1}), "its format is 99, this version reads"),
        (json.dumps({"format": FORMAT_VERSION}), "labeled is missing"),
    ],
)
def test_reports_that_cannot_be_read_are_left_out(
    store: Store, caplog: pytest.LogCaptureFixture, text: str, reason: str
) -> None:
    store.register(1)
    for number in (1, 2):
        finish_round(store, 1, RoundReport(number, labeled=number), labels=0, tasks=0)
    assert [report.round for report in read_rounds(store, 1)] == [1, 2]
    with store.write() as connection:
        connection.execute(sa.text("UPDATE rounds SET report = :t WHERE round = 2"), {"t": text})
    assert [report.round for report in read_rounds(store, 1)] == [1]
    (record,) = caplog.records
    assert record.getMessage().startswith(f"the report of this round is left out: {reason}")
    assert last_round(store, 1) is None


def test_a_report_is_read_as_it_was_written(store: Store) -> None:
    store.register(1)
    control = ControlReport("c", 2, 1, Evaluation(labels=2))
    report = RoundReport(3, labeled=2, seconds={"fit": 0.5}, controls=(control,))
    finish_round(store, 1, report, labels=0, tasks=0)
    assert last_round(store, 1) == report


def test_a_report_of_one_control_is_read_as_that_of_the_control_that_is_asked_for(
    store: Store,
) -> None:
    """As versions wrote them that learned one control and did not name it."""
    report = RoundReport(3, labeled=2, head_version="head-3")
    body = report.to_json() | {"format": 1, "audit": 1, "evaluation": {"labels": 2}}
    del body["controls"]
    read = RoundReport.from_json(json.dumps(body), round=3, finished_at=report.finished_at)
    assert read.controls == (ControlReport("", 2, 1, Evaluation(labels=2)),)
    assert read.of("c") == read.of(None) == read.controls[0]
    two = dataclasses.replace(report, controls=(ControlReport("c", 2), ControlReport("d", 1)))
    assert [two.of(name).labeled for name in (None, "c", "d", "e")] == [2, 2, 1, 0]


def test_a_finished_round_takes_off_only_what_it_saw(store: Store) -> None:
    store.register(1)
    apply_changes(store, 1, [task(1, "a"), task(2, "b"), task(3)])
    finish_round(store, 1, RoundReport(1, labeled=2), labels=1, tasks=3)
    project = store.project(1)
    assert project is not None
    assert (project.pending_labels, project.pending_tasks, project.round_requested) == (1, 0, False)
    (report,) = read_rounds(store, 1)
    assert report.labeled == 2


def test_a_request_that_came_while_a_round_ran_is_left(store: Store) -> None:
    store.register(1)
    begun = store.known_project(1)
    store.update(1, request_round=True)
    seen = begun.pending_requests
    finish_round(store, 1, RoundReport(1, labeled=2), labels=0, tasks=0, requests=seen)
    assert store.known_project(1).round_requested
    finish_round(store, 1, RoundReport(2, labeled=2), labels=0, tasks=0, requests=1)
    assert not store.known_project(1).round_requested


def test_start_training_asks_for_a_round(store: Store) -> None:
    store.register(1)
    finish_round(store, 1, RoundReport(1, labeled=0), labels=0, tasks=0)
    assert store.mark_changed(1, request_round=True)
    project = store.project(1)
    assert project is not None
    assert project.round_requested
