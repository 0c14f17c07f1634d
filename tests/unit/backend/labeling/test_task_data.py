"""Whatever shape task data have, what annotators see of them is read."""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

import pytest
from active_learn_backend.errors import ContentError, LabelConfigError
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.labeling.data_objects import Field
from active_learn_backend.labeling.plain_text import MAX_TEXT
from active_learn_backend.labeling.variables import unfold_repeaters
from active_learn_backend.learning.encoders.content_reader import ContentReader
from hypothesis import given
from hypothesis import strategies as st

CHOICES = '<Choices name="c" toName="o"><Choice value="a"/><Choice value="b"/></Choices>'


def read(tag: str, value: str, data: dict[str, Any], attributes: str = "") -> str | None:
    config = f'<View><{tag} name="o" value="{value}" {attributes}/>{CHOICES}</View>'
    (found,) = parse_label_config(config).content(data).values()
    return found


@pytest.mark.parametrize(
    ("value", "data", "text"),
    [
        ("$text", {"text": "t"}, "t"),
        ("$pages[0].text", {"pages": [{"text": "one"}, {"text": "two"}]}, "one"),
        ("$pages[1].text", {"pages": [{"text": "one"}]}, None),
        ("$pages.1", {"pages": ["one", "two"]}, "two"),
        ("$a.b[0][1].c", {"a": {"b": [[0, {"c": 5}]]}}, "5"),
        ("$a.b", {"a.b": "whole", "a": {"b": "part"}}, "whole"),
        ("$my column", {"my column": "blank"}, "blank"),
        ("$größe", {"größe": 1.5}, "1.5"),
        ("$from-name", {"from-name": "hyphen"}, "hyphen"),
        ("Title: $title by $author.name", {"title": "T", "author": {"name": "A"}}, "Title: T by A"),
        ("Title: $title", {}, None),
        ("$text", {"text": ["one", 2, None, {"k": "v"}]}, "one\n2\nk: v"),
        ("$text", {"text": {"k": ["v", "w"]}}, "k: v\nk: w"),
        ("$text", {"text": 0}, "0"),
        ("$text", {"text": None}, None),
        ("$text", {"text": []}, None),
        ("$text", {"text": ""}, ""),
        ("$text", {}, None),
        ("$text.deeper", {"text": "flat"}, None),
        ("$text[x]", {"text": ["a"]}, None),
    ],
)
def test_a_variable_is_read_as_label_studio_reads_it(
    value: str, data: dict[str, Any], text: str | None
) -> None:
    assert read("Text", value, data) == text


PARAGRAPHS = [{"author": "Ann", "text": "hi", "who": "B", "said": "ho"}, {"text": 5}]


@pytest.mark.parametrize(
    ("value", "attributes", "text"),
    [
        (PARAGRAPHS, 'layout="dialogue"', "Ann: hi\n5"),
        (PARAGRAPHS, 'layout="none"', "Ann: hi\n5"),
        (json.dumps(PARAGRAPHS), "", "Ann: hi\n5"),
        (PARAGRAPHS, 'nameKey="who" textKey="said"', "B: ho\n"),
        (PARAGRAPHS, 'nameKey="none" audioUrl="$audio"', "hi\n5"),
        ("A text as it is", "", "A text as it is"),
        ("/data/upload/1/talk.json", 'valueType="url"', "/data/upload/1/talk.json"),
        ({"text": "no list"}, "", None),
    ],
)
def test_paragraphs_are_read_in_every_layout(value: Any, attributes: str, text: str | None) -> None:
    assert read("Paragraphs", "$talk", {"talk": value}, attributes) == text


def test_paragraphs_behind_an_address_are_read_as_those_in_the_task() -> None:
    config = f'<View><Paragraphs name="o" value="$talk" valueType="url"/>{CHOICES}</View>'
    (field,) = parse_label_config(config).fields
    reader = ContentReader([field], lambda _: json.dumps(PARAGRAPHS).encode())
    assert reader.map([{"talk": "/talk.json"}], lambda values: values[0]) == ["Ann: hi\n5"]


def test_an_image_is_found_in_a_list() -> None:
    data = {"images": ["/a.png", "/b.png"]}
    assert read("Image", "$images[0]", data) == "/a.png"
    assert read("Image", "$images[2]", data) is None
    assert read("Image", "https://host/$name.png", {"name.png": "x.png"}) == "https://host/x.png"


def test_a_list_in_hypertext_is_read_without_its_tags() -> None:
    assert read("HyperText", "$t", {"t": ["<b>a</b>", {"k": "<i>b</i>"}]}) == "a k: b"


def test_a_very_long_text_is_cut() -> None:
    assert read("Text", "$t", {"t": "x" * (MAX_TEXT + 1)}) == "x" * MAX_TEXT


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("ab. <[$", max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("ab.[0]", max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.sampled_from(["Text", "HyperText", "Paragraphs", "Chat", "Table", "List", "Image"]),
    st.text("$ab.[0]*{} ", max_size=8),
    st.dictionaries(st.text("ab.[0]", max_size=3), JSON, max_size=3),
)
def test_any_data_under_any_variable_are_text_or_nothing(
    tag: str, value: str, data: dict[str, Any]
) -> None:
    field = f'<{tag} name="o" value="$a{value}"/>'
    task = parse_label_config(f"<View>{field}{CHOICES}</View>")
    content = task.content(data)
    assert all(one is None or isinstance(one, str) for one in content.values())
    assert len(task.content_key(content)) == 32


REPEATER = """<View><Repeater on="$pages" indexFlag="{{i}}"><Text name="o_{{i}}"
 value="$pages[{{i}}].text"/><Choices name="c_{{i}}" toName="o_{{i}}"><Choice value="a"/>
 <Choice value="b"/></Choices></Repeater>%s</View>"""
PAGES = {"pages": [{"text": "one"}, {"text": None}, {"other": 1}, {"text": ["two", "three"]}]}


def test_a_repeater_is_read_as_all_its_items_and_ordered_by_coverage() -> None:
    task = parse_label_config(REPEATER % "")
    assert task.description == (
        "ordered by coverage, as no control can be learned: Choices 'c_*' labels single items "
        "(Repeater)"
    )
    assert task.content(PAGES) == {"pages[*].text": "one\ntwo\nthree"}
    assert task.content({"pages": "none"}) == {"pages[*].text": None}
    default = parse_label_config(
        (REPEATER % "").replace('indexFlag="{{i}}"', "").replace("i}", "idx}")
    )
    assert default.content(PAGES) == {"pages[*].text": "one\ntwo\nthree"}


def test_nested_repeaters_are_read_as_all_their_items_in_linear_time() -> None:
    task = parse_label_config(
        """<View><Repeater on="$books" indexFlag="{{b}}"><Repeater on="$books[{{b}}].pages"
        indexFlag="{{p}}"><Text name="o_{{b}}_{{p}}" value="$books[{{b}}].pages[{{p}}]"/>
        <TextArea name="t_{{b}}_{{p}}" toName="o_{{b}}_{{p}}"/></Repeater></Repeater></View>"""
    )
    (text,) = task.content({"books": [{"pages": ["a", "b"]}, {"pages": ["c"]}, {}]}).values()
    assert text == "a\nb\nc"
    deep = '<Repeater on="$p">' * 200 + "<View/>" * 20_000 + "</Repeater>" * 200
    assert len(unfold_repeaters(ElementTree.fromstring(deep))) == 20_199


def test_what_stands_beside_a_repeater_is_learned() -> None:
    task = parse_label_config(REPEATER % f'<Text name="o" value="$title"/>{CHOICES}')
    assert (task.controls[0].from_name, task.kind) == ("c", "learned in part")
    assert task.content({"title": "t", **PAGES}) == {
        "title": "t",
        "pages[*].text": "one\ntwo\nthree",
    }


def test_files_in_a_repeater_are_refused_when_nothing_else_is_shown() -> None:
    sounds = (REPEATER % "").replace("<Text", "<Audio").replace("].text", "].sound")
    with pytest.raises(LabelConfigError, match=r"shows a list of files \(Repeater\)"):
        parse_label_config(sounds)


@pytest.mark.parametrize("empty", ["", " \n", None])
def test_a_task_without_any_text_is_not_ranked(empty: str | None) -> None:
    """Its vector would be zero, far from all others: it would come first as the newest of all."""
    reader = ContentReader([Field("q", "text"), Field("a", "text", required=False)], lambda _: b"")
    contents = [{"q": empty, "a": ""}, {"q": "", "a": "answer"}]
    errors = reader.map(contents, lambda values: values)
    assert isinstance(errors[0], ContentError)
    assert "'q'" in str(errors[0])
    assert errors[1] == ["", "answer"]


def test_a_task_whose_text_is_loaded_and_empty_is_not_ranked() -> None:
    reader = ContentReader([Field("page", "text", by_url=True)], lambda _: b" ")
    (error,) = reader.map([{"page": "/data/upload/1/a.txt"}], lambda values: values)
    assert str(error) == "the task is empty in its field 'page'"
