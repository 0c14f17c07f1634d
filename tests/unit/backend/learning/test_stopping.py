"""When to stop: what is compared, what the criteria say of it, and whom it is told."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from active_learn_backend.cli.main import main
from active_learn_backend.errors import SettingsError
from active_learn_backend.learning.quality.stopping import advise, describe, verdict
from active_learn_backend.project_settings import PROJECT_SETTINGS
from active_learn_backend.settings import load_settings
from active_learn_backend.state.round_report import (
    AuditGain,
    ControlReport,
    Estimate,
    Evaluation,
    HeadAgreement,
    RoundReport,
    Stability,
)
from active_learn_backend.state.rounds import finish_round
from active_learn_backend.state.store import Store
from active_learn_backend.worker.advice_webhook import notify_if_changed
from click.testing import CliRunner


def report(
    number: int, trained: int, agreement: HeadAgreement | None = None, gain: AuditGain | None = None
) -> RoundReport:
    stability = Stability(trained, agreement, gain)
    return of_control(number, trained, f"head-{number}", stability=stability)


def of_control(number: int, labeled: int, head: str, **found: Any) -> RoundReport:
    controls = (ControlReport("c", labeled, **found),)
    return RoundReport(number, labeled, head_version=head, controls=controls)


def changed(one: RoundReport, **found: Any) -> RoundReport:
    return replace(one, controls=(replace(one.of("c"), **found),))


def steps(*values: float, step: int = 10) -> list[RoundReport]:
    """Rounds whose heads agreed so far with those before."""
    return [
        report(at, 100 + step * at, HeadAgreement(value, step, 500))
        for at, value in enumerate(values, 1)
    ]


def said(reports: list[RoundReport], target: float | None = None) -> dict[str, bool | None]:
    return {one.criterion: one.says_stop for one in advise(reports, target)}


# -- what the criteria say ----------------------------------------------------------------------


def test_nothing_is_advised_without_rounds() -> None:
    for reports in ([], [RoundReport(1, labeled=0)]):
        assert set(said(reports, 0.9).values()) == {None}
        assert not verdict(advise(reports, 0.9))
        assert describe(advise(reports))[0] == "advice: go on labeling"


def test_answers_that_settle_say_stop() -> None:
    assert said(steps(0.9, 0.98, 0.995))["stabilizing predictions"] is False
    assert said(steps(0.9, 0.992, 0.993, 0.991))["stabilizing predictions"] is True
    assert said(steps(1.0, 1.0))["stabilizing predictions"] is None
    assert verdict(advise(steps(0.992, 0.992, 0.992)))


def test_comparisons_that_overlap_count_once() -> None:
    """Rounds that follow each label would otherwise say the same thing three times."""
    close = [report(at, 100 + at, HeadAgreement(1.0, 10, 500)) for at in range(1, 20)]
    assert said(close)["stabilizing predictions"] is None
    close += [report(at, 100 + at, HeadAgreement(1.0, 10, 500)) for at in range(20, 41)]
    assert said(close)["stabilizing predictions"] is True


def gain(low: float, value: float, high: float, audit: Estimate | None = None) -> list[RoundReport]:
    measured = AuditGain(value, low, high, n=200, loss=0.5, step=200)
    return [changed(report(1, 500, gain=measured), evaluation=Evaluation(audit))]


def test_a_gain_that_ends_says_stop() -> None:
    name = "performance convergence"
    assert said(gain(-0.01, 0.0, 0.015))[name] is True  # 0.75 points per 100 labels at most
    assert said(gain(0.03, 0.05, 0.07))[name] is False
    assert said(gain(-0.01, 0.02, 0.05))[name] is None


def test_errors_are_judged_by_their_size() -> None:
    error = Estimate("audit", "mean absolute error", 0.5, 0.4, 0.6, 200, 200.0)
    flat = gain(-0.002, 0.0, 0.005, error)  # 0.5 % per 100 labels
    steep = gain(0.03, 0.05, 0.07, error)
    assert said(flat)["performance convergence"] is True
    assert said(steep)["performance convergence"] is False
    assert said(flat, 0.7)["target performance"] is True
    assert said(flat, 0.3)["target performance"] is False
    assert said(flat, 0.5)["target performance"] is None


def test_a_target_is_reached_by_the_lower_end() -> None:
    audit = Estimate("audit", "accuracy", 0.93, 0.9, 0.96, 200, 200.0)
    reports = [changed(report(1, 500), evaluation=Evaluation(audit))]
    wanted = {0.9: True, 0.95: None, 0.97: False}
    assert {at: said(reports, at)["target performance"] for at in wanted} == wanted


def test_what_got_worse_is_said_to_have_got_worse() -> None:
    (words,) = [one.words for one in advise(gain(-0.17, -0.04, 0.08)) if "converg" in one.criterion]
    assert "the accuracy fell by 2.0 points per 100 labels (-4.0 to 8.5, " in words
    error = Estimate("audit", "mean absolute error", 2.0, 1.9, 2.1, 30, 30.0)
    (words,) = [
        one.words for one in advise(gain(-0.17, -0.04, 0.08, error)) if "converg" in one.criterion
    ]
    assert "the error rose by " in words


def test_one_criterion_against_it_is_enough_to_go_on() -> None:
    reports = steps(0.992, 0.992, 0.992)
    rising = gain(0.03, 0.05, 0.07)[0].of("c").stability
    settled = reports[-1].of("c").stability
    assert settled is not None
    assert rising is not None
    reports[-1] = changed(reports[-1], stability=replace(settled, gain=rising.gain))
    assert said(reports) == {"stabilizing predictions": True, "performance convergence": False}
    assert not verdict(advise(reports))


def test_labeling_may_stop_when_every_control_says_so() -> None:
    settled = steps(0.992, 0.992, 0.992)
    moving = steps(0.992, 0.992, 0.9)

    def both(others: list[RoundReport]) -> list[RoundReport]:
        return [
            replace(one, controls=(*one.controls, replace(other.of("c"), control="d")))
            for one, other in zip(settled, others, strict=True)
        ]

    assert verdict(advise(both(settled)))
    assert not verdict(advise(both(moving)))
    assert not verdict(advise(both([report(at, 100 + at) for at in range(3)])))  # too early
    lines = describe(advise(both(moving)))
    assert lines[0] == "advice: go on labeling"
    assert [line.partition(":")[0] for line in lines[1:]] == [
        "c, stabilizing predictions",
        "c, performance convergence",
        "d, stabilizing predictions",
        "d, performance convergence",
    ]
    assert {one.control for one in advise(both(moving), control="d")} == {"d"}
    assert verdict(advise(both(moving), control="c"))


def test_advise_asks_for_the_control_that_a_target_is_for(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'state.sqlite3'}")
    store.register(7)
    done = report(1, 100)
    done = replace(done, controls=(*done.controls, replace(done.of("c"), control="d")))
    finish_round(store, 7, done, labels=0, tasks=0)
    store.close()
    arguments = ["advise", "--project", "7", "--model-dir", str(tmp_path)]

    def said_by(*more: str) -> str:
        found = CliRunner().invoke(main, [*arguments, *more])
        return found.output + str(found.exception or "")

    assert "c, stabilizing predictions" in said_by()
    assert "--target needs --control, as several are learned; expected one of: c, d" in said_by(
        "--target", "0.9"
    )
    assert "target performance" in said_by("--target", "0.9", "--control", "d")
    assert "which no round has learned; expected one of: c, d" in said_by("--control", "x")


def test_every_advice_names_its_source() -> None:
    for one in advise(steps(0.992, 0.992, 0.992), 0.9):
        assert "20" in one.source
        assert one.words


# -- the command and the message ----------------------------------------------------------------


def fill(store: Store, reports: list[RoundReport]) -> None:
    store.register(7)
    for one in reports:
        finish_round(store, 7, one, labels=0, tasks=0)


def test_the_command_says_it_in_words(tmp_path: Path) -> None:
    store = Store(f"sqlite:///{tmp_path / 'state.sqlite3'}")
    fill(store, steps(0.99, 0.995, 0.992))
    store.close()
    arguments = ["advise", "--project", "7", "--target", "0.9", "--model-dir", str(tmp_path)]
    told = CliRunner().invoke(main, arguments)
    assert told.exit_code == 0, told.output
    lines = told.output.splitlines()
    assert lines[0] == "project 7: advice: you may stop"
    assert "stabilizing predictions: stop" in lines[1]
    assert "target performance: cannot tell" in lines[3]
    unknown = CliRunner().invoke(main, [*arguments[:2], "8", *arguments[3:]])
    assert unknown.exit_code == 1
    assert "project 8 is not connected" in unknown.output


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[Any]]]:
    """An address, and the bodies that it was sent."""
    bodies: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(503 if self.path == "/fails/key" else 302)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", bodies
    server.shutdown()
    server.server_close()


def test_a_changed_verdict_is_sent_once(receiver: tuple[str, list[Any]]) -> None:
    url, bodies = receiver
    told = load_settings(advice_url=f"{url}/hook/key")
    reports = steps(0.9, 0.992, 0.992, 0.992, 0.992, 0.9)
    for end in range(1, len(reports) + 1):
        notify_if_changed(told, 7, reports[:end])
    assert [(body["round"], body["stop"]) for body in bodies] == [(4, True), (6, False)]
    assert bodies[0]["project"] == 7
    assert [one["criterion"] for one in bodies[0]["advice"]] == [
        "stabilizing predictions",
        "performance convergence",
    ]
    notify_if_changed(load_settings(), 7, reports[:4])
    assert len(bodies) == 2


def test_a_message_that_fails_is_logged_without_its_address(
    receiver: tuple[str, list[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    url, bodies = receiver
    reports = steps(0.992, 0.992, 0.992)
    caplog.set_level(logging.INFO, logger="active_learn_backend")
    notify_if_changed(load_settings(advice_url=f"{url}/fails/key"), 7, reports)
    assert len(bodies) == 1
    assert "status 503" in caplog.text
    notify_if_changed(load_settings(advice_url="http://127.0.0.1:9/key"), 7, reports)
    assert "was not sent to ADVICE_URL: ConnectError" in caplog.text
    assert "key" not in caplog.text


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://host/x", "host", "http://"])
def test_only_the_operator_gives_an_address_and_only_of_the_web(address: str) -> None:
    assert "advice_url" not in PROJECT_SETTINGS
    with pytest.raises(SettingsError, match="ADVICE_URL"):
        load_settings(advice_url=address)
