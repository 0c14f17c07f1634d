"""Every route under requests that no Label Studio sends: refused in one line, nothing changed.

Two sources: schemathesis makes bodies from the OpenAPI document, right ones and wrong ones, and
compares the answers with it. `hostile_requests` makes what no document describes: broken bytes,
methods, headers, addresses, and bodies that were right but for one place.
"""

from __future__ import annotations

import base64
import copy
import json
import math
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from active_learn.heads import fit_head
from active_learn_backend.learning.encoders import TextEncoder
from active_learn_backend.settings import load_settings
from active_learn_backend.state.queue import set_queue
from active_learn_backend.state.store import QueueRow, TaskRow
from active_learn_backend.state.tasks import apply_changes
from active_learn_backend.web import limits
from active_learn_backend.web.app import create_app
from active_learn_backend.web.ml_backend import Runtime
from flask import Flask
from hypothesis import HealthCheck, Phase
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

ROOT = Path(__file__).parents[2]
CONFIG = (
    '<View><Text name="t" value="$text"/><Choices name="c" toName="t">'
    '<Choice value="A"/><Choice value="B"/></Choices></View>'
)
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
LIMIT = 2**18  # bytes of a request
AUTH = "Basic " + base64.b64encode(b"user:open sesame").decode()


@dataclass
class Target:
    """An app with a connected project, and what it is found to answer."""

    app: Flask
    folder: Path
    statuses: Counter[str] = field(default_factory=Counter)
    refused: int = 0

    def __post_init__(self) -> None:
        self.schema = schemathesis.openapi.from_wsgi(
            "/openapi.json", self.app, headers={"Authorization": AUTH}
        )
        self.client = self.app.test_client()
        self.before = self.state()

    @property
    def runtime(self) -> Runtime:
        runtime: Runtime = self.app.extensions["active_learn"]
        return runtime

    def state(self) -> dict[str, list[Any]]:
        """All tables, once the notes on their way are written."""
        assert self.runtime.changes.flush(timeout=20)
        connection = sqlite3.connect(self.folder / "state.sqlite3")
        try:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            names = sorted(name for (name,) in tables)
            return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for name in names}
        finally:
            connection.close()

    def judge(self, method: str, path: str, status: int, kind: str, body: bytes) -> None:
        """Hold an answer, and the state after it, against what is promised."""
        text = body.decode()
        self.statuses[str(status)] += 1
        assert status < 500, (method, path, status, text)
        for leak in ("Traceback", 'File "', str(ROOT), str(self.folder), sys.prefix):
            assert leak not in text, (method, path, text)
        after = self.state()
        if status >= 400:
            self.refused += 1
            assert after == self.before, (method, path, status, text)
            for_browsers = kind == "text/html" and path.startswith("/projects/")
            if method != "HEAD" and not for_browsers:
                assert kind == "application/json"
                answer = json.loads(text)
                assert list(answer) == ["error"]
                assert answer["error"].strip()
                assert len(answer["error"].splitlines()) == 1
        self.before = after

    def send_case(self, case: Case) -> None:
        """Send what schemathesis made; the answer has to be as the document says."""
        answer = case.call(headers={"Authorization": AUTH})
        kind = (answer.headers.get("content-type") or [""])[0].split(";")[0]
        self.judge(case.method, case.path, answer.status_code, kind, answer.content)
        case.validate_response(answer, checks=CHECKS)

    def send(self, request: dict[str, Any]) -> None:
        """Send a hostile request."""
        answer = self.client.open(**request)
        kind = answer.content_type.split(";")[0] if answer.content_type else ""
        if any(foreign.items() <= request["headers"].items() for foreign in FOREIGN):
            taken = request["method"] == "POST" and request["path"] in RIGHT
            assert not (taken and answer.status_code < 400), request
        self.judge(request["method"], request["path"], answer.status_code, kind, answer.data)


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Target]:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    settings = load_settings(
        model_dir=tmp_path,
        basic_auth_user="user",
        basic_auth_pass="open sesame",
        label_studio_url="http://127.0.0.1:9",  # where nothing listens
        label_studio_api_key="0" * 40,
    )
    monkeypatch.setattr(limits, "LARGEST_BODY", LIMIT)
    monkeypatch.setattr(limits, "LARGEST_OTHER", LIMIT)
    app = create_app(settings)
    runtime = app.extensions["active_learn"]
    store = runtime.store
    store.register(9, CONFIG)
    texts = ["apples and pears", "pears and apples", "red cars", "fast cars"]
    rows = [TaskRow(n, {"t": text}, f"{n:032x}", None, False) for n, text in enumerate(texts)]
    apply_changes(store, 9, rows)
    set_queue(store, 9, "al-1", [QueueRow(0, 0, True, 0.5, 0.5)])
    head = fit_head(
        "classification", ["A", "B"], TextEncoder().encode(texts), ["A", "A", "B", "B"], round=1
    )
    assert head is not None
    head.save(tmp_path / "projects" / "9" / "heads")
    store.update(9, head_round=1)
    yield Target(app, tmp_path)
    store.close()


# -- hostile requests ---------------------------------------------------------------------------

ROUTES = [
    "/setup", "/predict", "/webhook", "/train", "/versions", "/health", "/metrics", "/",
    "/projects.json", "/projects/9", "/projects/9.json", "/projects/8", "/projects/8.json",
    "/projects/9/rollback", "/projects/8/rollback", "/projects/9/tasks/0.jpg",
    "/projects/9/resume", "/projects/8/resume",
]  # fmt: skip
ODD_PATHS = [
    "//health", "/health/", "/HEALTH", "/%2e%2e/%2e%2e/etc/passwd", "/static/../../etc/passwd",
    "/static/%2e%2e/app.py", "/setup\x00", "/setup%00", "/versions/9", "/\u2603", "/" + "a" * 5000,
    "/openapi.json", "/setup;a=b", "/predict\r\nX: y", "/pages/../../app.py",
    "/pages/%2e%2e/app.py",
    "/projects/-1", "/projects/0", "/projects/" + "9" * 400, "/projects/\u0663", "/projects/9/../8",
    "/projects/9/tasks/99.jpg", "/projects/9/tasks/" + "9" * 30 + ".jpg",
]  # fmt: skip
FORMS = [
    b"version=head-1", b"version=latest", b"version=head-2", b"version=..%2Fhead-1", b"version",
    b"version=%ff%00", b"version=" + b"a" * 5000, b"&" * 2000,
]  # fmt: skip
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "BREW", "post"]
TASKS = [{"id": 1, "data": {"text": "a pear"}}, {"id": 2, "data": {"text": "a car"}}]
RIGHT: dict[str, dict[str, Any]] = {
    "/setup": {
        "project": "9.1795327219",
        "schema": CONFIG,
        "hostname": "http://127.0.0.1:8080",
        "access_token": "0123",
        "extra_params": {"strategy": "margin", "budget": 10, "encoder": "", "model": ""},
    },
    "/predict": {
        "tasks": TASKS,
        "project": "9.1795327219",
        "label_config": CONFIG,
        "params": {"login": None, "password": None, "context": None},
    },
    "/webhook": {"action": "ANNOTATION_CREATED", "project": {"id": 9}, "annotation": {"id": 1}},
    "/train": {"project": "9"},
}
HOSTILE: list[Any] = [
    None, True, False, 0, -1, 1, 9, 2**31, 2**63, 10**400, -0.0, 1e308, 0.5, math.nan, math.inf,
    "", " ", "9", "9.", "\x00", "\ud800", "\udfff\ud800", "\u202e\u2028", "\r\nX-Injected: 1",
    "../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "http://127.0.0.1:1/", "~root",
    "keep:\ud800", "keep:\x00", "\u0663", "%s%n{0}{self}", "x" * 300, "x/" * 2000, "a" * 100_000,
    [], {}, [[]], [None], {"": None}, {"text": {"text": []}}, {"__proto__": {}, "id": "id"},
    "<View/>", "<View><Text name='t' value='$text'/></View>",
    '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><View>&a;</View>',
    CONFIG.replace("$text", "$" * 50), CONFIG.replace("Text", "Image"), CONFIG * 2,
    CONFIG.replace('value="A"', 'value="&#0;"'), CONFIG.replace('"A"', '"\u2028"'),
    "<View>" * 2000, "<a>" * 100_000,
]  # fmt: skip
DEPTHS = st.integers(1, 1000) | st.just(50_000)
HEADERS: dict[str, list[str]] = {
    "Content-Type": [
        "application/json", "text/plain", "", "application/x-www-form-urlencoded", "a" * 3000,
        "multipart/form-data; boundary=x", "multipart/form-data", "application/json; charset=utf-7",
    ],
    "Content-Encoding": ["gzip", "br", "identity"],
    "Origin": ["http://evil.example", "null", "http://localhost"],
    "Sec-Fetch-Site": ["cross-site", "same-origin"],
    "Accept": ["text/html", "*/*;q=nan", ",,;;"],
    "Cookie": ["a=b; =; \x7f", "session=.eJw"],
    "X-Active-Sampler-Secret": ["", "x", "\u00e9" * 64, "0" * 64],
    "If-Modified-Since": ["yesterday"],
    "Range": ["bytes=0-1", "bytes=9-1"],
    "Host": ["evil.example", "a:b:c", "["],
    "X-Forwarded-For": ["127.0.0.1"],
}  # fmt: skip
FOREIGN = [
    {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"}, {"Host": "evil.example"}, {"Content-Type": "text/plain"},
    {"Content-Type": "application/x-www-form-urlencoded"}, {"Content-Type": ""},
]  # fmt: skip
BROKEN_AUTH = [
    "", "Basic", "Basic ", "Basic %%%", "Basic dTpw", "Basic " + "A" * 9999, "Basic /////w==",
    "Bearer x", 'Digest username="user", password="open sesamE"', "basic dXNlcg==", "\u00e9",
    "Basic " + base64.b64encode(b"user:\xff\xfe").decode(),
]  # fmt: skip
QUERIES = [
    "project=9", "project=9&project=10", "project=..%2F..", "project=%ff%fe", "project=\u0663",
    "project=%00", "project[]=9", "project=" + "9" * 4000, "&&==;;", "%", "project=9.1&x=" * 300,
]  # fmt: skip


def _places(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """All places in a JSON value, as keys on the way to them."""
    steps: Any = ()
    if isinstance(value, (dict, list)):
        steps = value.items() if isinstance(value, dict) else enumerate(value)
    return [here, *(place for key, one in steps for place in _places(one, (*here, key)))]


def _nested(depth: int, inner: str, mapping: bool) -> str:
    return '{"a":' * depth + inner + "}" * depth if mapping else "[" * depth + inner + "]" * depth


@st.composite
def spoiled_bodies(draw: st.DrawFn, path: str) -> bytes:
    """A body that Label Studio might send, but for one place."""
    body = copy.deepcopy(RIGHT[path])
    place = draw(st.sampled_from(_places(body)))
    marker = "@here@"
    raw = draw(
        st.sampled_from(HOSTILE).map(json.dumps)
        | st.text(max_size=30).map(json.dumps)
        | st.sampled_from(["NaN", "-Infinity", "1e999", "-1e999", "9" * 5000, "01", "'x'", ""])
        | st.builds(_nested, DEPTHS, st.just("1"), st.booleans())
    )
    if not place:
        return raw.encode()
    holder = body
    for key in place[:-1]:
        holder = holder[key]
    change = draw(st.sampled_from(["replace", "replace", "replace", "delete", "rename", "twice"]))
    if change == "delete":
        del holder[place[-1]]
        return json.dumps(body).encode()
    if change != "replace" and isinstance(holder, dict):
        holder[place[-1] + "\u200b"] = marker  # "twice": made the same key again below
    else:
        holder[place[-1]] = marker
    text = json.dumps(body).replace(json.dumps(marker), raw)
    return (text.replace("\\u200b", "") if change == "twice" else text).encode()


@st.composite
def broken_bytes(draw: st.DrawFn, path: str) -> bytes:
    """A body whose bytes are damaged, or that is no JSON at all."""
    right = json.dumps(RIGHT[path]).encode()
    at = draw(st.integers(0, len(right)))
    junk = draw(st.binary(min_size=1, max_size=8))
    return draw(
        st.sampled_from(
            [
                right[:at], right[:at] + junk + right[at:], right + junk, b"\xef\xbb\xbf" + right,
                right.decode().encode("utf-16"), b"\xff\xfe", b"\x00", b"", b"null", b"[]", b'"x"',
                right.replace(b"ANNOTATION", b"\xed\xa0\x80"), draw(st.binary(max_size=60)),
            ]
        )
    )  # fmt: skip


@st.composite
def oversized_bodies(draw: st.DrawFn, path: str) -> bytes:
    """A body as large as is allowed, or a little larger."""
    right = json.dumps(RIGHT[path]).encode()
    size = draw(st.sampled_from([LIMIT - 1, LIMIT, LIMIT + 1, 2 * LIMIT, 3 * LIMIT]))
    return draw(
        st.sampled_from(
            [
                b"{" * size, b"a" * size, b'{"project": "' + b"9" * (size - 15) + b'"}',
                right + b" " * (size - len(right)), right[:-1] + b" " * (size - len(right)) + b"}",
            ]
        )
    )  # fmt: skip


@st.composite
def hostile_requests(draw: st.DrawFn) -> dict[str, Any]:
    """A request to a route with a body that may be right, or to anywhere with anything."""
    path = draw(st.sampled_from(sorted(RIGHT)))
    headers = {"Authorization": AUTH, "Content-Type": "application/json"}
    method, query = "POST", ""
    kinds = ["body", "body", "body", "size", "credentials", "envelope", "page", "foreign"]
    kind = draw(st.sampled_from(kinds))
    if kind == "size":
        body = draw(oversized_bodies(path))
    elif kind == "foreign":  # right but for where it comes from, or what it says it is
        body = json.dumps(RIGHT[path]).encode()
        headers |= draw(st.sampled_from(FOREIGN))
    else:
        body = draw(spoiled_bodies(path) | broken_bytes(path))
    if kind == "credentials":
        headers["Authorization"] = draw(st.sampled_from(BROKEN_AUTH))
        secret = draw(st.sampled_from(["", *HEADERS["X-Active-Sampler-Secret"]]))
        headers |= {"X-Active-Sampler-Secret": secret} if secret else {}
    if kind == "page":
        path = draw(st.sampled_from([route for route in ROUTES if route.startswith("/projects")]))
        method = draw(st.sampled_from(["GET", "POST"]))
        body = draw(st.sampled_from(FORMS))
        headers["Content-Type"] = "application/x-www-form-urlencoded"
        for name in ("Accept", "Origin", "Sec-Fetch-Site"):
            headers |= {name: draw(st.sampled_from(HEADERS[name]))} if draw(st.booleans()) else {}
    if kind == "envelope":
        path = draw(st.sampled_from(ROUTES) | st.sampled_from(ODD_PATHS))
        method = draw(st.sampled_from(METHODS))
        query = draw(st.sampled_from(["", *QUERIES]) | st.text(max_size=40))
        names = draw(st.sets(st.sampled_from(sorted(HEADERS)), max_size=3))
        headers |= {name: draw(st.sampled_from(HEADERS[name])) for name in sorted(names)}
    return {
        "path": path, "method": method, "query_string": query,
        "headers": headers, "data": body,
    }  # fmt: skip


def fuzz(target: Target, examples: int) -> str:
    """Send that many requests; gives a line that sums up the answers."""
    made = [target.schema.as_strategy(generation_mode=mode) for mode in GenerationMode]

    @hypothesis.seed(20_000)
    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(
        st.booleans().flatmap(lambda hostile: hostile_requests() if hostile else st.one_of(*made))
    )
    def one_request(request: Case | dict[str, Any]) -> None:
        if isinstance(request, Case):
            target.send_case(request)
        else:
            target.send(request)

    start = time.monotonic()
    one_request()
    counts = ", ".join(f"{n} x {status}" for status, n in sorted(target.statuses.items()))
    return (
        f"fuzz: {target.statuses.total()} requests in {time.monotonic() - start:.0f} s: {counts}; "
        f"{target.refused} were refused, and the state was the same after each"
    )


def test_no_request_makes_an_internal_error_or_changes_state_when_refused(target: Target) -> None:
    # Rare among those that are drawn.
    no_json = {"Authorization": AUTH, "Content-Type": "text/plain"}
    target.send({"path": "/setup", "method": "POST", "headers": no_json, "data": b"{}"})
    print(fuzz(target, 300))
    assert {"200", "400", "401", "403", "404", "413", "415"} <= set(target.statuses)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_20000_requests(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    summary = fuzz(target, 20_000)
    with capsys.disabled():
        print(f"\n{summary}")
    assert target.statuses.total() >= 20_000
