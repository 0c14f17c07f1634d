"""Each promise, and each guard in SECURITY.md, names a test that is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("backend/docs/guarantees.md", "SECURITY.md")
NAMED = sorted(
    {
        named
        for page in PAGES
        for named in re.findall(r"`(tests/[\w/]+\.py)::([\w:]+)`", (ROOT / page).read_text())
    }
)


@pytest.mark.parametrize(("page", "least"), list(zip(PAGES, (30, 20), strict=True)))
def test_tests_are_named(page: str, least: int) -> None:
    assert (ROOT / page).read_text().count("`tests/") > least


@pytest.mark.parametrize(("path", "name"), NAMED, ids=[name for _, name in NAMED])
def test_the_test_of_a_promise_is_there(path: str, name: str) -> None:
    source = (ROOT / path).read_text()
    *classes, function = name.split("::")
    assert all(f"class {one}" in source for one in classes)
    assert re.search(rf"^\s*def {function}\(", source, re.MULTILINE)
