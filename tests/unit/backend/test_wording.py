"""Texts for people are cut between words, and say in plain ones what is wrong."""

from __future__ import annotations

import pytest
from active_learn_backend.web.reason_phrases import LONGEST, reason_phrase
from active_learn_backend.web.routes.messages import PredictRequest, WebhookRequest
from active_learn_backend.wording import first_fault, shortened
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError


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


@pytest.mark.parametrize(
    ("kind", "data", "said"),
    [
        (PredictRequest, [1], "the body must be a JSON object"),
        (PredictRequest, {"project": "1.1"}, "tasks is missing"),
        (PredictRequest, {"project": "1.1", "tasks": 3}, "tasks must be a valid list"),
        (PredictRequest, {"project": "1.1", "tasks": [3]}, "tasks.0 must be a JSON object"),
        (WebhookRequest, {"action": 3}, "action must be a valid string"),
    ],
)
def test_the_first_fault_of_data_is_said_in_plain_words(
    kind: type[BaseModel], data: object, said: str
) -> None:
    with pytest.raises(ValidationError) as raised:
        kind.model_validate(data)
    assert first_fault(raised.value, "the body") == said
