"""What annotators see of HTML, dialogues, records and chats, as a text."""

from __future__ import annotations

import json
from typing import Any

import pytest
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.labeling.data_objects import Field
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("tag", "value", "text"),
    [
        ("Table", {"name": "Ann", "age": 7, "seen": True}, "name: Ann\nage: 7"),
        ("List", [{"title": "One", "body": "b"}, "two"], "title: One\nbody: b\ntwo"),
        ("Table", {"deep": {"list": [1, {"x": None}]}}, "deep: 1".replace("deep", "list")),
        ("Table", {}, None),
        (
            "Chat",
            [
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": [{"type": "text", "text": "a"}, {"image": 1}]},
            ],
            "user: hi\nassistant: a",
        ),
    ],
)
def test_records_and_chats_are_read_as_text(tag: str, value: Any, text: str | None) -> None:
    config = f'<View><{tag} name="o" value="$o"/><TextArea name="t" toName="o"/></View>'
    task = parse_label_config(config)
    assert task.content({"o": value}) == {"o": text}


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<b>W</b>ord<p>x</p>y<br/>z &amp; &eacute;&nbsp;&lt;b&gt;", "Word x y z & é <b>"),
        ("<script>if (a < b) {}</script>a<STYLE>p {}</STYLE >b<!-- c > d -->e", "abe"),
        ("<p title='a>b' x=\"c>d\">e</p>", "e"),
        ("a < b > c, 2<3 & <", "a < b > c, 2<3 & <"),
        ("a<!-- never closed", "a"),
        ("a<script>never closed", "a"),
        ("a<p class='never closed", "a"),
        ("<![CDATA[x]]>y<?php z ?>", "y"),
        ("a<div/>b<article>c", "a b c"),
        ("&#" + "9" * 5000 + ";", "&#" + "9" * 5000 + ";"),
        (7, "7"),
        (None, None),
    ],
)
def test_hypertext_becomes_what_a_browser_shows(markup: Any, text: str | None) -> None:
    assert Field("f", "text", markup="html").plain_text(markup) == text


@given(st.text(st.sampled_from("<>!-/ab'\"& ;#9[]?p"), max_size=40))
def test_any_markup_becomes_text(markup: str) -> None:
    text = Field("f", "text", markup="html").plain_text(markup)
    assert text is not None
    assert len(text) <= len(markup)


@pytest.mark.parametrize(
    "hostile",
    ["<!--", "<a ", "<a b='", "<a \"'", "<script>", "<script", "</", "<![", "&", "<a\"b'>"],
)
def test_hostile_markup_takes_linear_time(hostile: str) -> None:
    """A quadratic reader needs minutes for one of these, and runs into the test's timeout."""
    Field("f", "text", markup="html").plain_text(hostile * 300_000)


def test_a_dialogue_becomes_lines() -> None:
    field = Field("f", "text", markup="dialogue", name_key="who")
    talk = [{"who": "Ann", "text": "Hi"}, {"text": "Hello"}, {"who": 2, "text": [1]}, "x", {}]
    lines = "Ann: Hi\nHello\n2\n"
    assert field.plain_text(talk) == lines
    assert field.plain_text(json.dumps(talk)) == lines  # loaded from its address
    assert field.plain_text("just text") == "just text"
    assert field.plain_text("[" * 100_000) == "[" * 100_000
    assert field.plain_text('"text"') == '"text"'
    assert field.plain_text({"who": "Ann"}) is None
