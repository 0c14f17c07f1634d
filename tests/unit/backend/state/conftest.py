"""An empty state for each test of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from active_learn_backend.state.store import Store


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    opened = Store(store_url)
    yield opened
    opened.close()
