"""Labeling configs and annotations are read right."""

from __future__ import annotations

import itertools
import json
import random
import re
from typing import Any

import pytest
from active_learn_backend.errors import LabelConfigError, SettingsError
from active_learn_backend.labeling.annotations import count_votes, is_skipped, resolve_label
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.labeling.data_objects import OBJECTS, Field
from hypothesis import given
from hypothesis import strategies as st
from label_studio_sdk.label_interface import LabelInterface

CHOICES = '<Choices name="c" toName="i"><Choice value="A" alias="a"/><Choice value="B"/></Choices>'
IMAGE = '<Image name="i" value="$image"/>'
CONFIG = f"<View><Header value='h'/>{IMAGE}{CHOICES}<TextArea name='t' toName='i'/></View>"


def annotation(number: int, label: str | None, **fields: Any) -> dict[str, Any]:
    result = [] if label is None else [{"label": label}]
    return {
        "id": number,
        "result": result,
        "updated_at": f"2026-01-01T00:00:{number:02d}Z",
    } | fields


def resolve(*annotations: dict[str, Any]) -> Any:
    return resolve_label(annotations, lambda result: result[0]["label"] if result else None)


def test_choices_on_an_image() -> None:
    task = parse_label_config(CONFIG)
    assert task.controls[0].labels == ("a", "B")
    assert [(field.name, field.kind) for field in task.fields] == [("image", "image")]
    assert task.content({"image": "/x.png", "other": 1}) == {"image": "/x.png"}


def test_what_is_written_is_read_and_validates() -> None:
    control = parse_label_config(CONFIG).controls[0]
    for label in control.labels:
        result = control.write(label, 0.75)
        assert control.read(result) == label
        assert result[0]["score"] == 0.75
        prediction = {"result": result, "score": 0.5, "model_version": "al-1"}
        assert LabelInterface(CONFIG).validate_prediction(prediction, return_errors=True) == []


def test_results_of_other_controls_and_unknown_labels_are_no_labels() -> None:
    control = parse_label_config(CONFIG).controls[0]
    text = {"from_name": "t", "to_name": "i", "type": "textarea", "value": {"text": ["B"]}}
    gone = {"from_name": "c", "to_name": "i", "type": "choices", "value": {"choices": ["C"]}}
    for result in ([], [text], [gone], [{"from_name": "c"}], [{"from_name": "c", "value": 3}]):
        assert control.read(result) is None
    assert control.read([text, *control.write("B")]) == "B"


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ("", "is empty"),
        ("<View", "cannot be read"),
        ("<View></View>", "has no control; add one, such as Choices"),
        (f"<View>{IMAGE}</View>", "has no control; add one, such as Choices"),
        (f"<View>{IMAGE}{CHOICES}</View>".replace("$image", "x.png"), "reads no task data"),
        (
            CONFIG.replace('Image name="i" value', 'Text name="i" valueList'),
            "give each task one text",
        ),
        (CONFIG.replace("<Image", '<Text encoding="base64"'), "import decoded text"),
        (CONFIG.replace("<Image", "<Cloud"), "cannot be encoded; use one of Image, Audio"),
        ('<!DOCTYPE v [<!ENTITY a "b">]>' + CONFIG, "remove the DOCTYPE"),
        ("<View>" + "x" * 2_000_001, "make it smaller"),
    ],
)
def test_a_config_that_cannot_be_used_is_refused_with_what_to_change(
    config: str, reason: str
) -> None:
    with pytest.raises(LabelConfigError) as refused:
        parse_label_config(config)
    message = str(refused.value)
    assert reason in message
    assert "\n" not in message
    assert len(message) <= 400
    message.encode("latin-1")


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (
            CONFIG.replace('toName="i">', 'toName="i" perRegion="true">', 1),
            "'c' labels each region",
        ),
        (CONFIG.replace('<Choice value="B"/>', ""), "add a second <Choice>"),
        (f"<View>{IMAGE}{CHOICES}</View>".replace('toName="i"', 'toName="x"'), "correct toName"),
        (CONFIG.replace("<Choices", '<Choices model_skip="true"'), "Choices 'c' has model_skip"),
        (f"<View>{IMAGE}<TextArea name='t' toName='i'/></View>", "TextArea 't' takes free text"),
        (
            f"<View>{IMAGE}<BitmaskLabels name='r' toName='i'><Label value='A'/></BitmaskLabels>"
            "</View>",
            "BitmaskLabels 'r' labels regions of a kind that is not learned",
        ),
    ],
)
def test_where_nothing_can_be_learned_the_tasks_are_ordered_by_coverage(
    config: str, reason: str
) -> None:
    task = parse_label_config(config)
    assert task.kind == "ordered by coverage"
    assert reason in task.description
    assert [field.name for field in task.fields] == ["image"]
    assert (task.controls[0].learned, task.controls[0].can_prelabel) == (False, False)
    assert task.controls[0].read([]) == task.controls[0].read([{"any": "thing"}]) == "annotated"
    assert task.controls[0].write("annotated") == []


def test_regions_of_videos_are_said_not_to_be_learned() -> None:
    video, label = '<Video name="v" value="$v"/>', '<Label value="a"/>'
    times = f'<TimelineLabels name="t" toName="v">{label}</TimelineLabels>'
    boxes = f'<VideoRectangle name="b" toName="v"/><Labels name="l" toName="v">{label}</Labels>'
    why = "labels regions of Video, which are not learned"
    assert parse_label_config(f"<View>{times}{video}</View>").description == (
        f"ordered by coverage, as no control can be learned: TimelineLabels 't' {why}"
    )
    assert parse_label_config(f"<View>{boxes}{video}</View>").description == (
        "ordered by coverage, as no control can be learned: "
        f"VideoRectangle 'b' {why}; Labels 'l' {why}"
    )
    choice = '<Choices name="c" toName="v"><Choice value="x"/><Choice value="y"/></Choices>'
    assert parse_label_config(f"<View>{choice}{times}{video}</View>").description == (
        f"learned in part: Choices 'c' (classification); not learned: TimelineLabels 't' {why}"
    )


def test_what_is_learned_and_what_is_not_is_one_sentence() -> None:
    assert parse_label_config(f"<View>{IMAGE}{CHOICES}</View>").description == (
        "learned: Choices 'c' (classification)"
    )
    assert parse_label_config(CONFIG).description == (
        "learned in part: Choices 'c' (classification); not learned: TextArea 't' takes free text"
    )
    second = CHOICES.replace('"c"', '"d"')
    skipped = CHOICES.replace("<Choices", '<Choices model_skip="true"')
    both = f"<View>{IMAGE}{skipped}{second}</View>"
    assert parse_label_config(both).description == (
        "learned in part: Choices 'd' (classification); not learned: Choices 'c' has model_skip"
    )


def test_any_object_will_do_for_coverage_and_a_task_needs_the_first() -> None:
    task = parse_label_config(
        """<View><Audio name="a" value="$sound"/><Text name="x" value="$text"/>
        <Image name="i" value="$image"/><TextArea name="t" toName="a"/></View>"""
    )
    assert task.fields == (
        Field("sound", "audio"),
        Field("text", "text", required=False),
        Field("image", "image", required=False),
    )


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


TEXT = '<Text name="x" value="$text"/>'
PAIR = '<Pairwise name="c" toName="x"/>'


@pytest.mark.parametrize(
    ("config", "advice", "followed"),
    [
        (f"<View>{TEXT}</View>", "add one, such as Choices", f"<View>{TEXT}{CHOICES}</View>"),
        (f"<View>{IMAGE}{CHOICES}</View>".replace("$image", "x.png"), "set its value to", IMAGE),
        (
            f"<View><Text name='i' encoding='base64' value='$t'/>{CHOICES}</View>",
            "remove it",
            IMAGE,
        ),
        (f"<View><Cube name='i' value='$v'/>{CHOICES}</View>", "use one of Image,", IMAGE),
        (f"<View><Text name='i' valueList='$t'/>{CHOICES}</View>", 'value="$field"', IMAGE),
        ("<!DOCTYPE v [<!ENTITY a 'b'>]>" + CONFIG, "remove the DOCTYPE", CONFIG),
    ],
)
def test_the_advice_of_a_refusal_leads_to_a_config_that_is_taken(
    config: str, advice: str, followed: str
) -> None:
    with pytest.raises(LabelConfigError, match=re.escape(advice)):
        parse_label_config(config)
    whole = followed if followed.startswith("<View") else f"<View>{followed}{CHOICES}</View>"
    assert parse_label_config(whole).fields


@pytest.mark.parametrize(
    ("control", "advice", "followed"),
    [
        ('<Choices name="c" toName="x"/>', "list them as <Choice value=.../>", None),
        ('<Choices name="c" toName="x" value="$list"/>', "list them as <Choice", None),
        ('<Taxonomy name="c" toName="x" apiUrl="u"/>', "list them as <Choice", None),
        ('<Choices name="c" toName="x"><Choice value="A"/></Choices>', "add a second", None),
        ('<Taxonomy name="c" toName="x"><Choice/></Taxonomy>', "without a value; add one", None),
        (CHOICES.replace('"i"', '"y"'), "add that object or correct toName", None),
        (PAIR, 'set toName="first,second"', f"{PAIR.replace('>x', '>x,y')}"),
        (
            '<Number name="c" toName="x" min="5" max="1"/>',
            "make the upper bound larger",
            '<Number name="c" toName="x" min="1" max="5"/>',
        ),
        (
            '<Number name="c" toName="x" min="five"/>',
            "make it a number",
            '<Number name="c" toName="x" min="5"/>',
        ),
        (
            '<Rating name="c" toName="x" maxRating="many"/>',
            "make it a whole number",
            '<Rating name="c" toName="x" maxRating="7"/>',
        ),
    ],
)
def test_the_advice_about_a_control_leads_to_one_that_is_learned(
    control: str, advice: str, followed: str | None
) -> None:
    other = '<Text name="y" value="$y"/>' if "Pairwise" in control else ""
    task = parse_label_config(f"<View>{TEXT}{other}{control}</View>")
    assert task.kind == "ordered by coverage"
    assert advice in task.description
    followed = followed or CHOICES.replace('"i"', '"x"')
    if "Pairwise" in control:
        followed = PAIR.replace('"x"', '"x,y"')
    assert parse_label_config(f"<View>{TEXT}{other}{followed}</View>").kind == "learned"


def test_a_long_reason_is_cut_between_two_words() -> None:
    tags = "".join(f'<Cube name="cube number {n}" value="$v"/>' for n in range(20))
    with pytest.raises(LabelConfigError) as refused:
        parse_label_config(f"<View>{CHOICES}{tags}</View>")
    message = str(refused.value)
    assert 200 < len(message) <= 400
    assert re.search(r"[\w>,;] \.\.\.$", message)
    whole = {"encoded", "use", "one", "of", "cannot", "be", "number", "name", *OBJECTS}
    assert re.findall(r"\w+", message)[-1] in whole


@given(st.text(max_size=300))
def test_any_text_is_a_task_or_a_reason(config: str) -> None:
    with pytest.raises(LabelConfigError):
        parse_label_config(config)


def test_the_same_content_has_one_key_and_an_edit_a_new_one() -> None:
    task = parse_label_config(CONFIG)
    keys = [task.content_key(task.content({"image": name, "x": name})) for name in "aab"]
    assert keys[0] == keys[1] != keys[2]


def test_keys_depend_on_kinds_and_values_not_on_names() -> None:
    """Digests address the embedding cache: they must not change between releases."""
    image = parse_label_config(CONFIG)
    assert image.content_key({"image": "/x.png"}) == "bb51da470e26285a3f19fdf3264091f5"
    config = f"<View><Text name='i' value='$other'/>{CHOICES}</View>"
    text = parse_label_config(config)
    assert text.content_key({"other": "/x.png"}) == "410f7e2fbd2fa3078e7ba9a8d5a90e5b"
    renamed = parse_label_config(config.replace("$other", "$text"))
    assert renamed.content_key({"text": "/x.png"}) == text.content_key({"other": "/x.png"})
    by_url = parse_label_config(config.replace("<Text", '<Text valueType="url"'))
    hyper = parse_label_config(config.replace("<Text", '<HyperText valueType="url"'))
    talks = [
        parse_label_config(config.replace("<Text", f'<Paragraphs valueType="url" textKey="{key}"'))
        for key in "ab"
    ]
    keys = {task.content_key({"other": "/x.png"}) for task in (text, by_url, hyper, *talks)}
    assert len(keys) == 5


def test_all_that_annotators_see_is_encoded_the_labeled_first() -> None:
    task = parse_label_config(
        """<View><Text name="context" value="$about"/><Text name="again" value="$page"/>
        <Header value="$title"/><Audio name="a" value="$sound"/><Image name="l" valueList="$all"/>
        <Text name="fixed" value="Read this"/><Paragraphs name="p" value="$talk" nameKey="who"/>
        <HyperText name="i" value="$page" valueType="url"/><Image name="im" value="$a.b"/>
        <Choices name="c" toName="i"><Choice value="A"/><Choice value="B"/></Choices></View>"""
    )
    assert task.fields == (
        Field("page", "text", by_url=True, markup="html"),
        Field("about", "text", required=False),
        Field("sound", "audio", required=False),
        Field("all", "images", required=False),
        Field("talk", "text", markup="dialogue", name_key="who", required=False),
        Field("a.b", "image", required=False),
    )
    data = {"page": "s3://x.html", "about": 3, "a": {"b": "/i.png"}, "talk": [{"text": "hi"}]}
    files = {"sound": None, "all": None}
    content = {"page": "s3://x.html", "about": "3", "talk": "hi", "a.b": "/i.png"}
    assert task.content(data) == {**content, **files}
    empty = {"page": None, "about": "", "talk": "", "a.b": None}
    assert task.content({}) == {**empty, **files}


def test_a_control_may_label_several_objects() -> None:
    task = parse_label_config(
        '<View><Text name="x" value="$x"/><Text name="y" value="$y"/><Choices name="c" '
        'toName="y,x"><Choice value="A"/><Choice value="B"/></Choices></View>'
    )
    assert [field.name for field in task.fields] == ["y", "x"]
    assert task.controls[0].to_name == "y"


def test_each_control_that_can_be_learned_is() -> None:
    per_region = CHOICES.replace("<Choices ", '<Choices perRegion="true" ').replace('"c"', '"d"')
    labels = "<Labels name='l' toName='i'><Label value='x'/></Labels>"
    task = parse_label_config(
        f"<View>{IMAGE}{labels}{per_region}{CHOICES}<Rating name='r' toName='i'/></View>"
    )
    assert [control.from_name for control in task.controls] == ["c", "r"]
    assert task.kind == "learned in part"


def test_a_task_has_the_labels_of_the_controls_that_it_is_labeled_by() -> None:
    task = parse_label_config(f"<View>{IMAGE}{CHOICES}<Rating name='r' toName='i'/></View>")
    chosen, rated = (
        control.write(label) for control, label in zip(task.controls, ["B", 4.0], strict=True)
    )
    assert task.labels([annotation(1, None, result=[*rated, *chosen])]) == {"c": "B", "r": 4.0}
    # Each control has its own majority, of those who answered it.
    assert task.labels([annotation(1, None, result=rated), annotation(2, None, result=chosen)]) == {
        "c": "B",
        "r": 4.0,
    }
    assert task.labels(
        [annotation(1, None, result=rated), annotation(2, None, result=chosen, was_cancelled=True)]
    ) == {"r": 4.0}
    assert task.labels([annotation(1, None, result=[])]) is None
    assert task.labels([]) is None


def test_a_setting_names_the_controls_that_are_learned() -> None:
    texts = "<Text name='t' value='$t'/><Rating name='r' toName='t'/><Number name='n' toName='i'/>"
    task = parse_label_config(f"<View>{IMAGE}{CHOICES}{texts}</View>")
    assert task.only("") is task
    assert task.only(" n, c ").description == (
        "learned in part: Choices 'c' (classification), Number 'n' (regression); "
        "not learned: Rating 'r' is not in CONTROLS"
    )
    rated = task.only("r")
    assert [control.from_name for control in rated.controls] == ["r"]
    # The same fields, so that contents and embeddings stay; a task may lack what is not learned.
    assert [(field.name, field.required) for field in rated.fields] == [
        ("image", False),
        ("t", True),
    ]
    content = task.content({"image": "/x.png", "t": "x"})
    assert rated.content_key(content) == task.content_key(content)


def test_a_setting_that_names_no_control_that_can_be_learned_is_refused() -> None:
    task = parse_label_config(f"<View>{IMAGE}{CHOICES}<TextArea name='t' toName='i'/></View>")
    for names in ("t", "c,x", "C"):
        with pytest.raises(SettingsError, match=r"no control .* that can be learned; .*: c$"):
            task.only(names)
    unlearned = parse_label_config(f"<View>{IMAGE}<TextArea name='t' toName='i'/></View>")
    with pytest.raises(SettingsError, match="some of: none"):
        unlearned.only("t")


def test_a_field_that_any_control_labels_is_required_and_all_are_encoded_once() -> None:
    objects = "".join(f'<Text name="{name}" value="${name}"/>' for name in "xyz")
    rating = "<Rating name='r' toName='z'/>"
    both = parse_label_config(f"<View>{objects}{CHOICES}{rating}</View>".replace('"i"', '"y"'))
    required = {field.name: field.required for field in both.fields}
    assert required == {"y": True, "z": True, "x": False}
    assert [field.name for field in both.fields] == ["y", "z", "x"]


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


def test_skipped_and_empty_annotations_are_no_labels() -> None:
    assert resolve() is None
    assert resolve(annotation(1, "A", was_cancelled=True)) is None
    assert resolve(annotation(1, None)) is None
    assert is_skipped([annotation(1, None, was_cancelled=True), annotation(2, "A")])
    assert not is_skipped([annotation(2, "A")])


@pytest.mark.parametrize(
    ("from_name", "value", "reason"),
    [
        ("c", {"choices": ["Old"]}, "'c' is answered with [\"Old\"], which is none of its labels"),
        ("c", {"choices": ["x" * 99]}, "'c' is answered with a long answer, which is none of its"),
        ("c", 3, "'c' is answered with 3, which is none of its labels"),
        ("t", {"text": ["a"]}, "only controls that are not learned are answered"),
        ("sentiment", {"choices": ["B"]}, "'sentiment' is answered, which is no control of the"),
        ([], {}, "the annotation is empty"),
    ],
)
def test_annotations_without_a_label_have_a_reason(from_name: Any, value: Any, reason: str) -> None:
    task = parse_label_config(CONFIG)
    item = {"from_name": from_name, "type": "choices", "value": value}
    found = task.no_label_because([{"id": 1, "result": [item]}])
    assert found.startswith(reason)


def test_what_a_repeater_labels_is_no_unknown_control() -> None:
    repeated = (
        '<Repeater on="$p"><Text name="x_{{idx}}" value="$p[{{idx}}]"/><TextArea '
        'name="d_{{idx}}" toName="x_{{idx}}"/></Repeater>'
    )
    task = parse_label_config(CONFIG.replace("<Header", repeated + "<Header"))
    items = [{"from_name": f"d_{n}", "type": "textarea", "value": {}} for n in range(2)]
    found = task.no_label_because([{"id": 1, "result": items}])
    assert found == "only controls that are not learned are answered"


def test_ground_truth_then_majority_then_the_latest() -> None:
    assert (
        resolve(annotation(1, "A", ground_truth=True), annotation(2, "B"), annotation(3, "B"))
        == "A"
    )
    assert resolve(annotation(1, "A"), annotation(2, "B"), annotation(3, "B")) == "B"
    assert resolve(annotation(1, "B"), annotation(2, "A")) == "A"
    latest_first = [annotation(2, "A"), annotation(1, "B")]
    assert resolve(*latest_first) == "A"
    truths = [annotation(n, label, ground_truth=True) for n, label in ((1, "A"), (2, "B"))]
    assert resolve(*truths) == "B"
    # Label Studio marks every imported annotation as a ground truth.
    imported = [annotation(n, label, ground_truth=True) for n, label in enumerate("AAB")]
    assert resolve(*imported, annotation(9, "B"), annotation(10, "B")) == "A"


def test_numbers_give_their_median() -> None:
    def resolve_numbers(*numbers: float, **fields: Any) -> Any:
        votes = [annotation(n, None, result=[number]) for n, number in enumerate(numbers)]
        votes[0] |= fields
        return resolve_label(votes, lambda result: result[0])

    assert resolve_numbers(1.0, 99.0, 2.0) == 2.0
    assert resolve_numbers(1.0, 2.0) == 1.5
    assert resolve_numbers(4.0) == 4.0
    assert resolve_numbers(1.0, 2.0, 2.0, ground_truth=True) == 1.0
    truths = [annotation(n, None, result=[float(n)], ground_truth=True) for n in (1, 2, 9)]
    assert resolve_label(truths, lambda result: result[0]) == 2.0


def test_annotations_are_counted_with_those_against_the_label() -> None:
    def votes(*labels: Any, **fields: Any) -> tuple[int, float]:
        given = [annotation(n, None, result=[label]) for n, label in enumerate(labels)]
        given[0] |= fields
        return count_votes(given, lambda result: result[0])

    assert votes("A") == (1, 0)
    assert votes("A", "B", "A") == (3, 1)
    assert votes("A", "B") == (2, 1)
    assert votes("A", "B", "B", was_cancelled=True) == (2, 0)
    assert votes("A", "B", "B", ground_truth=True) == (1, 0)
    assert votes(["A", "B"], ["A"], ["A", "B"]) == (3, 1)
    assert votes(1.0, 2.0, 6.0) == (3, 7.0)
    assert votes(5.0) == (1, 0.0)
    assert votes(None) == (0, 0)


def test_only_controls_that_several_answered_have_votes() -> None:
    task = parse_label_config(CONFIG)
    write = task.controls[0].write
    a, b = (annotation(n, None, result=write(label, None)) for n, label in enumerate("aB"))
    assert task.votes([a]) is None
    assert task.votes([a, annotation(3, None)]) is None
    votes = task.votes([a, b])
    assert votes == {task.controls[0].from_name: [2, 1.0]}
    assert votes == json.loads(json.dumps(votes))  # as the store returns it


def test_sets_of_labels_are_resolved_as_a_whole() -> None:
    def resolve_sets(*sets: list[str]) -> Any:
        votes = [annotation(n, None, result=[labels]) for n, labels in enumerate(sets)]
        return resolve_label(votes, lambda result: result[0])

    assert resolve_sets(["A", "B"], ["A"], ["A", "B"], ["B"]) == ["A", "B"]
    assert resolve_sets(["A", "B"], ["A"]) == ["A"]


@given(
    st.lists(
        st.tuples(st.sampled_from("ABC"), st.booleans(), st.booleans()), min_size=1, max_size=6
    ),
    st.randoms(use_true_random=False),
)
def test_the_order_of_annotations_does_not_matter(
    votes: list[tuple[str, bool, bool]], shuffler: random.Random
) -> None:
    annotations = [
        annotation(n, label, ground_truth=truth, was_cancelled=skip)
        for n, (label, truth, skip) in enumerate(votes)
    ]
    shuffled = annotations[:]
    shuffler.shuffle(shuffled)
    label = resolve(*annotations)
    assert label == resolve(*shuffled)
    counted = [one for one in annotations if not one["was_cancelled"]]
    truths = {one["result"][0]["label"] for one in counted if one["ground_truth"]}
    assert (label is None) == (not counted)
    if truths:
        assert label in truths
    elif counted:
        tally = [one["result"][0]["label"] for one in counted]
        assert tally.count(label) == max(map(tally.count, itertools.chain(tally)))


class Counted(str):
    """A name that counts how often it is compared."""

    comparisons = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        Counted.comparisons += 1
        return str.__eq__(self, other)


def test_many_choices_are_read_in_linear_time() -> None:
    """Each name was compared with each label: 30,000 choices took minutes on a busy machine."""
    multiple = CONFIG.replace('name="c"', 'name="c" choice="multiple"')
    control = parse_label_config(multiple).controls[0]
    labels = [Counted(f"label {n}") for n in range(3000)]
    Counted.comparisons = 0
    control.offer(labels, [(Counted(f"name {n}"), label) for n, label in enumerate(labels)])
    result = control.write(labels)
    assert control.read(result) == labels
    assert len(control.predicted_values) == 3000
    assert Counted.comparisons < 20 * len(labels)


def test_too_many_repeaters_are_refused() -> None:
    tags = "".join(f'<Text name="t{n}" value="$t" indexFlag="{{{{n}}}}"/>' for n in range(200))
    with pytest.raises(LabelConfigError, match="200 tags with indexFlag, at most 100"):
        parse_label_config(f"<View>{tags}{IMAGE}{CHOICES}</View>")
