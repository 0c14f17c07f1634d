"""Places in texts, HTML and dialogues, as Label Studio counts them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.labeling.exact_text import (
    PARAGRAPH,
    ExactHtml,
    exact_text,
    stored_dialogue,
)
from hypothesis import given
from hypothesis import strategies as st

SMILE = "\U0001f600"


def dialogue(*said: str) -> str:
    return json.dumps([["", one] for one in said])


def test_places_in_a_text_are_code_points() -> None:
    text = exact_text(f"{SMILE} a\r\nb", "plain")
    assert text.places(np.array([0, 2, 5])).tolist() == [0, 2, 5]
    assert text.between(2, 3) == "a"
    assert text.between(5, 99) == "b"


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<p>a &amp; b</p><p>c</p>", "a & bc"),
        ("  <div>a<br/>b<BR>c</div>", "a\nb\nc"),
        (f"a\r\n<!-- x -->{SMILE}<b>b</b>", f"a\n{SMILE}b"),
        ("<style>p {}</style>a<script>b</script>", "a"),
        ("<!doctype html><html><head><title>t</title></head><body> <p>a</p></body></html>", " a"),
        ("<html><head></head> <p>a</p></html>", "a"),
        (" <!-- x --> <p>a</p>", "a"),
        ("\n<div>\n <p>a</p> </div>", "\n a "),
        ("<table>\n<tr><td>a</td>\n <td>b</table>", "\na\n b"),
        ("<pre>\r\na\nb</pre><pre>\n\nc</pre><pre><b>\nd</b></pre>", "a\nb\nc\nd"),
        ("<i>" * 2000 + "a", ""),  # deeper than is read
        ("", ""),
        (" \n", ""),
        ("<!--", ""),
    ],
)
def test_html_is_the_text_of_its_nodes(markup: str, text: str) -> None:
    assert exact_text(markup, "html").text == text


@pytest.mark.parametrize(
    ("markup", "path", "at"),
    [
        (f"<p>a</p>\n<div>b<p>c</p><p>{SMILE} X</p></div>", "/div[1]/p[2]/text()[1]", 3),
        (f"{SMILE}<b>b</b> X", "/text()[2]", 1),
        ("a<!-- c -->X", "/text()[2]", 0),
        ("<ul><li>a<li>X</ul>", "/ul[1]/li[2]/text()[1]", 0),
        ("a<br>X", "/text()[2]", 0),
        ("<!-- c --> <b>b</b>X", "/text()[1]", 0),
        ("<pre>\nX</pre>", "/pre[1]/text()[1]", 0),
    ],
)
def test_a_place_in_html_has_an_xpath_and_utf16_units_in_its_node(
    markup: str, path: str, at: int
) -> None:
    text = exact_text(markup, "html")
    assert isinstance(text, ExactHtml)
    place = text.text.index("X")
    assert text.path(place, end=False) == (path, at)
    assert text.path(place + 1, end=True) == (path, at + 1)


def test_places_in_a_dialogue_are_utf16_units_of_a_paragraph() -> None:
    text = exact_text(dialogue(f"{SMILE} hi", "", "you"), "dialogue")
    assert text.text == f"{SMILE} hi\n\nyou"
    assert text.places(np.array([0, 1, 2, 4, 5, 6, 8])).tolist() == [
        0, 2, 3, 5, PARAGRAPH, 2 * PARAGRAPH, 2 * PARAGRAPH + 2,
    ]  # fmt: skip
    assert text.between(3, 5) == "hi"
    assert text.between(3, 2 * PARAGRAPH + 3) == "hi\n\nyou"
    assert text.between(3 * PARAGRAPH, 4 * PARAGRAPH) == ""


@given(st.lists(st.text(st.characters(exclude_characters="\n"), max_size=8), max_size=5))
def test_places_lead_back_to_their_characters(said: list[str]) -> None:
    text = exact_text(dialogue(*said), "dialogue")
    indices = np.arange(len(text.text))
    assert [text.index(place) for place in text.places(indices).tolist()] == indices.tolist()


@pytest.mark.parametrize("given_as", ["list", "json"])
def test_a_dialogue_is_kept_by_paragraphs(given_as: str) -> None:
    found: object = [{"author": "A", "text": "x\ny"}, {"text": 3}, "?"]
    if given_as == "json":
        found = json.dumps(found)
    stored = stored_dialogue(found, "author", "text")
    assert stored is not None
    assert json.loads(stored) == [["A", "x\ny"], ["", "3"], ["", ""]]
    assert stored_dialogue("no dialogue", "author", "text") is None


def test_encoders_read_exact_fields_as_plain_text() -> None:
    config = (
        '<View><ParagraphLabels name="l" toName="p"><Label value="A"/></ParagraphLabels>'
        '<Paragraphs name="p" value="$talk" nameKey="who" textKey="said"/>'
        '<HyperTextLabels name="m" toName="h"><Label value="A"/></HyperTextLabels>'
        '<HyperText name="h" value="$page"/></View>'
    )
    task = parse_label_config(config)
    talk, page = task.fields
    data = {"talk": [{"who": "A", "said": "x"}, {"said": "y"}], "page": "<p>a</p><p> b</p>"}
    content = task.content(data)
    assert content == {"talk": json.dumps([["A", "x"], ["", "y"]]), "page": data["page"]}
    assert talk.shown(content["talk"] or "") == "A: x\ny"
    assert page.shown(content["page"] or "") == "a b"
    plain = parse_label_config(
        '<View><Choices name="c" toName="h"><Choice value="A"/><Choice value="B"/></Choices>'
        '<HyperText name="h" value="$page"/></View>'
    )
    assert plain.content(data) == {"page": "a b"}  # where no region is labeled
