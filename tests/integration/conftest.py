"""The web process without a server around it, and a worker beside a small Label Studio."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from active_learn_backend.settings import load_settings
from active_learn_backend.state.store import Store
from active_learn_backend.web.app import create_app
from active_learn_backend.web.ml_backend import Runtime
from fake_label_studio import FakeLabelStudio
from flask import Flask
from flask.testing import FlaskClient
from protocol_requests import CONFIG
from worker_backend import Backend


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    return create_app(load_settings(model_dir=tmp_path / "state"))


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def runtime(app: Flask) -> Runtime:
    return app.extensions["active_learn"]


@pytest.fixture
def store(app: Flask) -> Store:
    return app.extensions["active_learn"].store


@pytest.fixture
def connected(store: Store) -> Store:
    """The store with project 9 connected, as the worker leaves it."""
    store.register(9, CONFIG)
    return store


@pytest.fixture
def studio() -> Iterator[FakeLabelStudio]:
    server = FakeLabelStudio()
    yield server
    server.close()


@pytest.fixture
def backend(studio: FakeLabelStudio, tmp_path: Path) -> Iterator[Backend]:
    made = Backend(studio, tmp_path)
    yield made
    made.store.close()
