"""Calls to Label Studio: tokens, retries, errors in words; against a fake_server HTTP server."""

from __future__ import annotations

import base64
import json
import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from itertools import islice
from urllib.parse import parse_qs, urlsplit

import pytest
from active_learn_backend.errors import (
    LabelStudioError,
    LabelStudioUnreachableError,
    MissingTokenError,
)
from active_learn_backend.labelstudio import client as client_module
from active_learn_backend.labelstudio.task_filters import Filter
from fake_server import KEY, Answer, Script


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    server = Script()
    yield server
    server.close()


def answers(*given: Answer) -> Callable[..., Answer]:
    left = list(given)
    return lambda *_: left.pop(0)


def jwt(seconds: float) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": time.time() + seconds}).encode())
    return f"e30.{claims.decode().rstrip('=')}.signature"


OK: Answer = (200, {}, b'{"id": 1}')


def test_a_legacy_token_is_sent_as_it_is(script: Script) -> None:
    script.client().call("GET", "/api/x")
    assert script.asked == [("GET", "/api/x", f"Token {KEY}")]


def test_a_personal_token_is_exchanged_once_and_again_when_refused(script: Script) -> None:
    personal, access = jwt(1e6), [jwt(300), jwt(300) + "2"]
    refused = {access[0]: False}

    def answer(_method: str, path: str, authorization: str | None) -> Answer:
        if path == "/api/token/refresh/":
            return 200, {}, json.dumps({"access": access[refused[access[0]]]}).encode()
        token = (authorization or "").removeprefix("Bearer ")
        return (401, {}, b"{}") if refused.get(token) else OK

    script.answer = answer
    client = script.client(personal)
    for _ in range(3):
        client.call("GET", "/api/x")
    assert [path for _, path, _ in script.asked].count("/api/token/refresh/") == 1
    refused[access[0]] = True
    client.call("GET", "/api/x")
    assert [path for _, path, _ in script.asked].count("/api/token/refresh/") == 2
    assert all(personal not in (given or "") for _, _, given in script.asked)


def test_an_access_token_about_to_end_is_renewed_first(script: Script) -> None:
    script.answer = lambda _m, path, _a: (
        (200, {}, json.dumps({"access": jwt(5)}).encode()) if "refresh" in path else OK
    )
    client = script.client(jwt(1e6))
    client.call("GET", "/api/x")
    client.call("GET", "/api/x")
    assert [path for _, path, _ in script.asked].count("/api/token/refresh/") == 2


def test_a_revoked_personal_token_is_said(script: Script) -> None:
    script.answer = lambda *_: (401, {}, b"{}")
    with pytest.raises(LabelStudioError, match="make a new one") as refused:
        script.client(jwt(1e6)).call("GET", "/api/x")
    assert refused.value.status == 401


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_reads_are_repeated_when_it_is_busy(script: Script, status: int) -> None:
    script.answer = answers((status, {"Retry-After": "1"}, b"x"), (status, {}, b"x"), OK)
    assert script.client().call("GET", "/api/x") == {"id": 1}


@pytest.mark.parametrize(("status", "calls"), [(429, 3), (503, 3), (500, 1), (502, 1), (504, 1)])
def test_writes_are_repeated_only_when_it_did_not_take_them(
    script: Script, status: int, calls: int
) -> None:
    script.answer = lambda *_: (status, {}, b"x")
    with pytest.raises(LabelStudioError) as refused:
        script.client().call("POST", "/api/x", json={})
    assert refused.value.status == status
    assert len(script.asked) == calls


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


def test_a_busy_label_studio_is_asked_again_when_it_says_but_not_after_minutes(
    script: Script, pauses: list[float]
) -> None:
    for header, seconds in (
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "600"}, 30.0),
        ({"Retry-After": "-1"}, 0.0),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}, 0.5),
        ({}, 0.5),
    ):
        pauses.clear()
        script.answer = answers((503, header, b"x"), (503, {}, b"x"), OK)
        assert script.client().call("POST", "/api/x") == {"id": 1}
        assert pauses == [seconds, 1.0]


def test_only_reads_are_repeated_when_nobody_answers(script: Script, pauses: list[float]) -> None:
    client = script.client()
    script.close()
    with pytest.raises(LabelStudioUnreachableError):
        client.call("POST", "/api/x")
    assert pauses == []
    with pytest.raises(LabelStudioUnreachableError):
        client.call("GET", "/api/x")
    assert pauses == [0.2, 0.4]


def test_the_clock_is_that_of_the_last_answer(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = script.client()
    monkeypatch.setattr(
        BaseHTTPRequestHandler, "date_time_string", lambda *_: "Wed, 21 Oct 2026 07:28:00 GMT"
    )
    script.answer = lambda *_: (500, {}, b"{}")
    with pytest.raises(LabelStudioError):
        client.call("GET", "/api/x")
    assert client.clock == datetime(2026, 10, 21, 7, 28, tzinfo=UTC)


def test_a_missing_token_is_said_with_its_remedy(script: Script) -> None:
    with pytest.raises(MissingTokenError, match="set LABEL_STUDIO_API_KEY"):
        script.client("").require_token()
    script.client().require_token()


def test_html_where_json_is_expected_is_said(script: Script) -> None:
    script.answer = lambda *_: (200, {}, b"<html>")
    with pytest.raises(LabelStudioError, match="something else than JSON"):
        script.client().call("GET", "/api/x")


def test_its_own_words_are_passed_on_in_one_line(script: Script) -> None:
    body = json.dumps({"detail": "no\nsuch thing", "token": "secret"}).encode()
    script.answer = lambda *_: (400, {}, body)
    with pytest.raises(LabelStudioError, match="answered 400: no") as refused:
        script.client().call("POST", "/api/x")
    assert "secret" not in str(refused.value)


def test_half_a_body_and_nobody_there_are_unreachable(script: Script) -> None:
    script.answer = lambda *_: (200, {"Content-Length": "100"}, b'{"id":')
    with pytest.raises(LabelStudioUnreachableError, match="does not answer GET /api/x"):
        script.client(request_timeout=0.5).call("GET", "/api/x")
    script.close()
    with pytest.raises(LabelStudioUnreachableError, match="LABEL_STUDIO_URL"):
        script.client().call("POST", "/api/x")


def test_pages_end_with_a_short_one_or_with_404(script: Script) -> None:
    full = json.dumps({"tasks": [{"id": n} for n in range(client_module.PAGE_SIZE)]}).encode()
    part = json.dumps({"tasks": [{"id": 1}]}).encode()
    script.answer = answers((200, {}, full), (200, {}, part))
    assert [len(page) for page in script.client().task_pages(1)] == [client_module.PAGE_SIZE, 1]
    script.answer = answers((200, {}, full), (404, {}, b"{}"))
    assert [len(page) for page in script.client().task_pages(1)] == [client_module.PAGE_SIZE]
    script.answer = answers((404, {}, b"{}"))
    with pytest.raises(LabelStudioError):
        list(script.client().task_pages(1))


def test_a_label_given_while_tasks_are_read_hides_no_earlier_one(script: Script) -> None:
    """Label Studio counts, then reads as many as it counted: the last one falls out.

    Seen with 200 labels on a busy machine: one that was never read.
    """
    stamps = {9: "16:52:32", 4: "16:52:46"}  # 4 is labeled after 9 was counted

    def answer(_method: str, path: str, _authorization: str | None) -> Answer:
        (query,) = parse_qs(urlsplit(path).query)["query"]
        by_change = json.loads(query).get("ordering") == ["tasks:updated_at"]
        ids = sorted(stamps, key=lambda task: stamps[task] if by_change else task)
        tasks = [{"id": task, "updated_at": stamps[task]} for task in ids[:1]]
        return 200, {}, json.dumps({"tasks": tasks, "total": 1}).encode()

    script.answer = answer
    since = [Filter("updated_at", "greater", "Datetime", "16:52:14")]
    found = script.client().few_tasks(1, since, 100)
    assert found is not None
    assert [task["id"] for task in found] == [9]


def test_tasks_are_counted_without_being_read(script: Script) -> None:
    total = {"tasks": [{"id": 1}], "total": 6000}
    script.answer = answers((200, {}, json.dumps(total).encode()))
    assert (
        script.client().count_tasks(1, [Filter("updated_at", "greater", "Datetime", "16")]) == 6000
    )
    asked = parse_qs(urlsplit(script.asked[-1][1]).query)
    assert asked["page_size"] == ["1"]
    assert "16" in asked["query"][0]


@pytest.mark.parametrize("seed", range(8))
def test_tasks_that_change_while_they_are_read_hide_no_other(
    script: Script, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Between two pages some tasks change, and some enter or leave; many share one stamp."""
    monkeypatch.setattr(client_module, "PAGE_SIZE", 5)
    dice = random.Random(seed)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    stamps = {n: start + timedelta(microseconds=dice.choice([1, 2, 3, 40])) for n in range(40)}
    labeled = {n for n in stamps if dice.random() < 0.8}
    from_the_start = set(labeled)
    clock = [start + timedelta(seconds=1)]

    def answer(_method: str, path: str, _authorization: str | None) -> Answer:
        asked = parse_qs(urlsplit(path).query)
        query = json.loads(asked["query"][0])
        after = datetime.fromisoformat(query["filters"]["items"][0]["value"])
        assert query["ordering"] == ["tasks:updated_at"]
        ids = [n for n in sorted(labeled, key=lambda n: (stamps[n], n)) if stamps[n] > after]
        first = (int(asked["page"][0]) - 1) * 5
        found = [{"id": n, "updated_at": stamps[n].isoformat()} for n in ids[first : first + 5]]
        for _ in range(2):  # meanwhile
            n = dice.randrange(45)
            clock[0] += timedelta(seconds=1)
            stamps[n] = clock[0]
            labeled.add(n)
        gone = dice.randrange(45)
        labeled.discard(gone)
        from_the_start.discard(gone)
        return 200, {}, json.dumps({"tasks": found, "total": len(ids)}).encode()

    script.answer = answer
    reading = script.client().changed_tasks(
        1, start, filters=[Filter("total_annotations", "greater", "Number", 0)]
    )
    read = {task["id"] for page in islice(reading, 100) for task in page}
    # Those that changed meanwhile bear a later stamp, which the next poll asks for.
    still_old = {n for n in from_the_start if stamps[n] < start + timedelta(seconds=1)}
    assert still_old <= read


def test_a_version_is_matched_whole(script: Script) -> None:
    rows = [{"id": n, "model_version": f"al-{n}"} for n in (1, 10, 11)]
    body = json.dumps({"tasks": [{"id": 5, "predictions": rows}]}).encode()
    script.answer = lambda *_: (200, {}, body)
    assert [row["id"] for row in script.client().predictions(1, "al-1")] == [1]


@pytest.mark.parametrize(
    "answer", [(503, {}, b"{}"), (200, {}, b"<html>"), (200, {}, b"[]"), (502, {}, b"<html>")]
)
def test_a_renewal_that_fails_is_no_refusal(script: Script, answer: Answer) -> None:
    script.answer = lambda *_: answer
    with pytest.raises(LabelStudioError, match="no access token when ours was to be renewed"):
        script.client("a.b.c").call("GET", "/api/projects/1/")
