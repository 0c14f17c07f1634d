"""Texts for people are cut between words."""

from __future__ import annotations

import pytest
from active_learn_backend.web.reason_phrases import LONGEST, reason_phrase
from active_learn_backend.wording import shortened
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("text", "most", "short"),
    [
        ("one two three", 13, "one two three"),
        ("one two\n three", 20, "one two three"),
        ("one two three", 12, "one two ..."),
        ("one two, three four", 14, "one two ..."),
        ("x" * 30, 10, "xxxxxx ..."),
        ("a " + "x" * 30, 20, "a xxxxxxxxxxxxxx ..."),
    ],
)
def test_a_text_is_cut_between_words(text: str, most: int, short: str) -> None:
    assert shortened(text, most) == short


@given(st.text(), st.integers(5, 60))
def test_it_is_never_longer_and_begins_as_the_text_does(text: str, most: int) -> None:
    short = shortened(text, most)
    assert len(short) <= most
    assert " ".join(text.split()).startswith(short.removesuffix(" ..."))


def test_reason_phrases_end_with_a_whole_word() -> None:
    phrase = reason_phrase("a reason with words " * 30)
    assert len(phrase) <= LONGEST
    assert phrase.endswith(("a ...", "reason ...", "with ...", "words ..."))
