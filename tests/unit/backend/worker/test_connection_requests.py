"""A project that /setup names is connected only once Label Studio lists our model for it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from active_learn_backend.labelstudio.client import LabelStudioClient
from active_learn_backend.settings import Settings
from active_learn_backend.state.connection_requests import (
    read_connection_requests,
    request_connection,
)
from active_learn_backend.state.store import Store
from active_learn_backend.worker.connection_requests import PATIENCE, ConnectionRequests
from fake_studio import OURS, Studio


@pytest.fixture
def requests(settings: Settings, store: Store) -> ConnectionRequests:
    return ConnectionRequests(settings, store, LabelStudioClient(settings))


def waiting(store: Store) -> list[int]:
    return [one.project_id for one in read_connection_requests(store)]


def test_a_project_with_a_model_of_ours_is_connected_with_its_params(
    studio: Studio, store: Store, requests: ConnectionRequests
) -> None:
    studio.add(studio.models, url=f"{OURS}/", extra_params={"strategy": "margin"})
    request_connection(store, 3)
    requests.answer(time.time())
    project = store.known_project(3)
    assert (project.status, project.params) == ("active", {"strategy": "margin"})
    assert waiting(store) == []
    # Its requests to train bear the secret from now on.
    assert studio.models[1]["basic_auth_pass"] == project.webhook_secret


def test_params_are_read_from_label_studio_alone_and_may_be_emptied(
    studio: Studio, store: Store, requests: ConnectionRequests
) -> None:
    store.register(3, params={"strategy": "margin"})
    studio.add(studio.models, url=OURS, extra_params=None)
    request_connection(store, 3)
    requests.answer(time.time())
    assert store.known_project(3).params == {}
    assert waiting(store) == []


@pytest.mark.parametrize(
    "values",
    [
        {"extra_params": {"strategy": "no such"}},
        {"extra_params": {"encoder": "/etc"}},
        {"extra_params": {"label_studio_url": "http://evil.example"}},
        {"extra_params": "no JSON"},
    ],
)
def test_params_that_cannot_be_used_connect_nothing(
    studio: Studio, store: Store, requests: ConnectionRequests, values: dict[str, Any]
) -> None:
    studio.add(studio.models, url=OURS, **values)
    request_connection(store, 3)
    requests.answer(time.time())
    assert (store.projects(), waiting(store)) == ([], [])


def test_an_invented_project_is_dropped_at_once(
    studio: Studio, store: Store, requests: ConnectionRequests, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(1000, 1040):
        request_connection(store, number)
    requests.answer(time.time())
    assert (store.projects(), waiting(store)) == ([], [])
    assert len([one for one in caplog.records if "was set up and is not" in one.message]) == 40
    asked = len(studio.asked)
    requests.answer(time.time())
    assert len(studio.asked) == asked == 40  # never again


def test_a_project_that_lists_another_model_is_asked_about_a_few_times(
    studio: Studio, store: Store, requests: ConnectionRequests, caplog: pytest.LogCaptureFixture
) -> None:
    studio.add(studio.models, url="http://elsewhere.example")
    request_connection(store, 3)
    now = start = time.time()
    while waiting(store):
        requests.answer(now)
        now += 0.5
    assert PATIENCE <= now - start <= PATIENCE + 2
    assert len(studio.asked) <= 8
    assert store.projects() == []
    (record,) = caplog.records
    assert f"Label Studio lists no model at {OURS} for it; add one" in record.message


def test_a_model_that_label_studio_stores_a_moment_later_is_found(
    studio: Studio, store: Store, requests: ConnectionRequests
) -> None:
    """Label Studio calls /setup while it adds the model."""
    request_connection(store, 3)
    now = time.time()
    requests.answer(now)
    assert waiting(store) == [3]
    studio.add(studio.models, url=OURS)
    requests.answer(now + 0.5)
    assert store.projects() == []
    requests.answer(now + 1.5)
    assert store.known_project(3).status == "active"


def test_a_label_studio_that_fails_is_asked_again(
    studio: Studio, store: Store, requests: ConnectionRequests
) -> None:
    studio.add(studio.models, url=OURS)
    request_connection(store, 3)
    studio.fails = ("GET", "/api/ml/")
    now = time.time()
    requests.answer(now)
    assert waiting(store) == [3]
    studio.fails = None
    requests.answer(now + 2)
    assert store.known_project(3).status == "active"


def test_a_disconnected_project_stays_so(
    studio: Studio, store: Store, requests: ConnectionRequests
) -> None:
    store.register(3, status="disconnected")
    studio.add(studio.models, url=OURS, extra_params={"strategy": "margin"})
    request_connection(store, 3)
    requests.answer(time.time())
    project = store.known_project(3)
    assert (project.status, project.params, waiting(store)) == ("disconnected", {}, [])
