"""A small Label Studio with its settings and its store, for tests of connections."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from active_learn_backend.settings import Settings, load_settings
from active_learn_backend.state.store import Store
from fake_server import KEY, Script
from fake_studio import OURS, Studio


@pytest.fixture
def studio() -> Iterator[Script]:
    server = Studio()
    yield server
    server.close()


@pytest.fixture
def settings(studio: Script, tmp_path: Path) -> Settings:
    return load_settings(
        label_studio_url=studio.url,
        label_studio_api_key=KEY,
        model_dir=tmp_path,
        backend_url=OURS,
    )


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    opened = Store(settings.store_url)
    yield opened
    opened.close()
