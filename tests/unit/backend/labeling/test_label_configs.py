"""Labeling configs and annotations are read right."""

from __future__ import annotations

import re

import pytest
from active_learn_backend.errors import LabelConfigError, SettingsError
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.labeling.data_objects import OBJECTS, Field
from hypothesis import given
from hypothesis import strategies as st
from label_studio_sdk.label_interface import LabelInterface

CHOICES = '<Choices name="c" toName="i"><Choice value="A" alias="a"/><Choice value="B"/></Choices>'
IMAGE = '<Image name="i" value="$image"/>'
CONFIG = f"<View><Header value='h'/>{IMAGE}{CHOICES}<TextArea name='t' toName='i'/></View>"


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
            f"<View>{IMAGE}<VectorLabels name='r' toName='i'><Label value='A'/></VectorLabels>"
            "</View>",
            "VectorLabels 'r' labels regions of a kind that is not learned",
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


def test_what_a_repeater_labels_is_no_unknown_control() -> None:
    repeated = (
        '<Repeater on="$p"><Text name="x_{{idx}}" value="$p[{{idx}}]"/><TextArea '
        'name="d_{{idx}}" toName="x_{{idx}}"/></Repeater>'
    )
    task = parse_label_config(CONFIG.replace("<Header", repeated + "<Header"))
    items = [{"from_name": f"d_{n}", "type": "textarea", "value": {}} for n in range(2)]
    found = task.no_label_because([{"id": 1, "result": items}])
    assert found == "only controls that are not learned are answered"


def test_too_many_repeaters_are_refused() -> None:
    tags = "".join(f'<Text name="t{n}" value="$t" indexFlag="{{{{n}}}}"/>' for n in range(200))
    with pytest.raises(LabelConfigError, match="200 tags with indexFlag, at most 100"):
        parse_label_config(f"<View>{tags}{IMAGE}{CHOICES}</View>")
