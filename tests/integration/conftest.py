"""The web process, without a server around it."""

from __future__ import annotations

from pathlib import Path

import pytest
from active_learn_backend.settings import load_settings
from active_learn_backend.web.app import create_app
from flask import Flask
from flask.testing import FlaskClient


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    return create_app(load_settings(model_dir=tmp_path / "state"))


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()
