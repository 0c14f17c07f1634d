"""Each promise names a test that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMED = re.findall(
    r"`(tests/[\w/]+\.py)::([\w:]+)`", (ROOT / "backend" / "docs" / "promises.md").read_text()
)


def test_promises_are_found() -> None:
    assert len(NAMED) > 30


@pytest.mark.parametrize(("path", "name"), NAMED, ids=[name for _, name in NAMED])
def test_the_test_of_a_promise_is_there(path: str, name: str) -> None:
    source = (ROOT / path).read_text()
    *classes, function = name.split("::")
    assert all(f"class {one}" in source for one in classes)
    assert re.search(rf"^\s*def {function}\(", source, re.MULTILINE)
