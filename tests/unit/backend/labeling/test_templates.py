"""Every annotation template that Label Studio offers is ordered, and the docs say how."""

from __future__ import annotations

import pytest
from template_page import PAGE, Template, page, templates


@pytest.fixture(scope="module")
def found() -> list[Template]:
    read = templates()
    if not read:
        pytest.skip("needs Label Studio (`make install`)")
    return read


def test_every_template_is_ordered(found: list[Template]) -> None:
    assert len(found) == 69
    assert [one.title for one in found if one.kind == "refused"] == []


def test_what_is_not_learned_has_a_reason(found: list[Template]) -> None:
    for one in found:
        assert bool(one.learned) == one.kind.startswith("learned"), one
        assert bool(one.others) == (one.kind != "learned"), one
        assert "is no kind that is learned" not in one.others, one


def test_the_page_says_what_connect_reads(found: list[Template]) -> None:
    """If this fails, look at the difference, then write the page anew by the command on it."""
    assert PAGE.read_text(encoding="utf-8") == page(found)
