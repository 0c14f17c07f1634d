"""One contract for every control tag: add one, and add a class here that names its config."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from active_learn_backend.errors import LabelConfigError
from active_learn_backend.labeling.brush_rle import write_brush
from active_learn_backend.labeling.config import LabelingTask, parse_label_config
from active_learn_backend.labeling.controls import REGISTRY, ControlTag
from active_learn_backend.labeling.exact_text import PARAGRAPH
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from label_studio_sdk.label_interface import LabelInterface

OBJECT = '<Text name="t" value="$text"/>'


def check_not_learned(config: str, reason: str) -> None:
    """Check that a config is ordered by coverage, and says why its control is not learned."""
    task = parse_label_config(config)
    assert task.kind == "ordered by coverage"
    assert re.search(reason, task.description)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**400), 10**400)
    | st.floats()
    | st.sampled_from(["A", "left", "Car", "Animal", "Dog"])
    | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)

# Each class runs an inherited test on its own config: replayed examples differ, and are still true.
inherited = settings(suppress_health_check=[HealthCheck.differing_executors])


class ControlContract:
    """What every control tag promises."""

    tag: str  # the XML of the control under test
    objects = OBJECT
    name: str
    problem_type: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, float] | None = None
    can_prelabel = True
    to_name = "t"
    # What annotators submitted, as Label Studio gives it, and the label that it is.
    read: list[tuple[dict[str, Any], Any]]
    # Values that are no label.
    unread: list[dict[str, Any]]
    # Labels, and the value that predictions of them have.
    written: list[tuple[Any, dict[str, Any]]]
    # Labels that cannot be written.
    unwritten: list[Any]

    @property
    def config(self) -> str:
        other = '<TextArea name="note" toName="t"/>' if 'name="t"' in self.objects else ""
        return f'<View><Header value="h"/>{self.objects}{other}{self.tag}</View>'

    @property
    def task(self) -> LabelingTask:
        return parse_label_config(self.config)

    @property
    def control(self) -> ControlTag:
        return self.task.controls[0]

    def result(self, value: Any) -> list[dict[str, Any]]:
        kind = self.name.lower()
        return [{"from_name": "c", "to_name": self.to_name, "type": kind, "value": value}]

    def test_says_what_it_is(self) -> None:
        control = self.control
        assert isinstance(control, REGISTRY[self.name])
        assert (control.tag, control.from_name, control.to_name) == (self.name, "c", self.to_name)
        assert control.problem_type == self.problem_type
        assert control.labels == self.labels
        assert control.bounds == self.bounds
        assert control.can_prelabel == self.can_prelabel
        assert set(control.predicted_values.values()) <= set(self.labels)
        assert not set(control.predicted_values) & set(self.labels)

    def test_reads_annotations(self) -> None:
        note = {"from_name": "note", "to_name": "t", "type": "textarea", "value": {"text": ["A"]}}
        for value, label in self.read:
            found = self.control.read([note, *self.result(value)])
            assert found == label
            assert type(found) is type(label)

    def test_other_values_are_no_labels(self) -> None:
        assert self.control.read([]) is None
        for value in self.unread:
            assert self.control.read(self.result(value)) is None, value
        for value, _ in self.read:  # of another control
            assert self.control.read([self.result(value)[0] | {"from_name": "d"}]) is None

    def test_writes_predictions_that_are_read_back(self) -> None:
        for label, value in self.written:
            (item,) = self.control.write(label, np.float32(0.25))
            assert item == self.result(value)[0] | {"score": 0.25}
            assert type(item["score"]) is float
            assert self.control.write(label) == self.result(value)
            again = self.control.read(self.control.write(label))
            assert self.control.write(again) == self.result(value)

    def test_writes_nothing_of_what_the_config_does_not_offer(self) -> None:
        for label in self.unwritten:
            assert self.control.write(label, 0.5) == []

    def test_predictions_validate(self) -> None:
        for label, _ in self.written:
            prediction = {"result": self.control.write(label, 0.5), "score": 0.5}
            errors = LabelInterface(self.config).validate_prediction(prediction, return_errors=True)
            assert (errors == []) == self.can_prelabel, errors

    @inherited
    @given(JSON)
    def test_any_annotation_is_a_label_or_none(self, found: Any) -> None:
        key = next(iter(self.written[0][1]))
        for result in (found, [found], self.result(found), self.result({key: found})):
            self.check(self.control.read(result))

    def check(self, label: Any) -> None:
        """A label is None or one that the config offers."""
        if label is not None:
            assert self.control.read(self.control.write(label)) == label

    @pytest.mark.parametrize("mode", ["perRegion", "perregion", "perItem"])
    def test_labels_of_parts_of_a_task_are_refused(self, mode: str) -> None:
        config = self.config.replace(f"<{self.name} ", f'<{self.name} {mode}="true" ')
        check_not_learned(config, r"'c' labels each (region|item) \(per.*\), not the task")

    def test_conditional_visibility_is_fine(self) -> None:
        when = 'visibleWhen="region-selected" perRegion="false" '
        config = self.config.replace(f"<{self.name} ", f"<{self.name} {when}")
        assert parse_label_config(config).controls[0].labels == self.labels

    def test_what_it_labels_must_be_there(self) -> None:
        with pytest.raises(LabelConfigError, match=r"not in the config; add that object"):
            parse_label_config(self.config.replace(self.objects, ""))

    def test_content_is_what_it_labels(self) -> None:
        assert self.task.content({"text": "a", "other": "b"}) == {"text": "a"}


class TestChoices(ControlContract):
    tag = (
        '<Choices name="c" toName="t"><Choice value="A" alias="al" predicted_values="a, x , x"/>'
        '<View><Choice value="B" predicted_values="x,b"/></View>'
        '<Choice value="C"><Choice value="hidden"/></Choice></Choices>'
    )
    name = "Choices"
    problem_type = "classification"
    labels = ("al", "B", "C")
    read = [
        ({"choices": ["al"]}, "al"),
        ({"choices": ["A"]}, "al"),  # imports often name the value
        ({"choices": ["B"]}, "B"),
    ]
    unread = [
        {"choices": []},
        {"choices": ["hidden"]},  # Label Studio does not show it
        {"choices": "B"},
        {"choices": [["B"]]},
    ]
    written = [("al", {"choices": ["al"]}), ("C", {"choices": ["C"]})]
    unwritten = ["A", "hidden", ""]

    def test_maps_names_that_a_model_may_have(self) -> None:
        assert self.control.predicted_values == {"A": "al", "a": "al", "b": "B"}

    def test_single_radio_is_classification_too(self) -> None:
        config = self.config.replace("<Choices ", '<Choices choice="single-radio" ')
        assert parse_label_config(config).controls[0].problem_type == "classification"

    @pytest.mark.parametrize(
        ("tag", "reason"),
        [
            ('<Choices name="c" toName="t" value="$list"/>', "takes its choices from each task"),
            ('<Choices name="c" toName="t"/>', "has no choices; list them"),
            ('<Choices name="c" toName="t"><Choice value="A"/></Choices>', "add a second"),
        ],
    )
    def test_choices_that_cannot_be_learned(self, tag: str, reason: str) -> None:
        check_not_learned(f"<View>{OBJECT}{tag}</View>", reason)


class TestMultipleChoices(ControlContract):
    tag = (
        '<Choices name="c" toName="t" choice="multiple"><Choice value="A"/><Choice value="B"/>'
        '<Choice value="Third" alias="C"/></Choices>'
    )
    name = "Choices"
    problem_type = "multilabel"
    labels = ("A", "B", "C")
    read = [
        ({"choices": ["A", "C"]}, ["A", "C"]),
        ({"choices": ["C", "A", "C", "gone", 3]}, ["A", "C"]),
        ({"choices": ["B"]}, ["B"]),
    ]
    unread = [{"choices": []}, {"choices": ["gone"]}, {"choices": None}]
    written = [
        (["A"], {"choices": ["A"]}),
        (["C", "gone", "A", "A"], {"choices": ["A", "C"]}),
        (["A", "B", "C"], {"choices": ["A", "B", "C"]}),
    ]
    unwritten = [[], ["gone"], ["Third"]]


TREE = (
    '<Choice value="Animal"><Choice value="Dog" predicted_values="poodle"/>'
    '<Choice value="Cat"/><Choice value="Dog" alias="Fox"/></Choice>'
    '<Choice value="Thing" alias="th"><Choice value="Car" alias="auto"/><Choice value="Cat"/>'
    '</Choice><Choice value="Other"/>'
)
LEAVES = ("Animal / Dog", "Animal / Cat", "th / auto", "th / Cat", "Other")


class TestTaxonomy(ControlContract):
    tag = f'<Taxonomy name="c" toName="t">{TREE}</Taxonomy>'
    name = "Taxonomy"
    problem_type = "multilabel"
    labels = LEAVES
    read = [
        ({"taxonomy": [["Animal", "Dog"], ["Other"]]}, ["Animal / Dog", "Other"]),
        ({"taxonomy": [["th", "auto"], ["Animal", "Dog"]]}, ["Animal / Dog", "th / auto"]),
        ({"taxonomy": [["Thing", "Car"]]}, ["th / auto"]),  # imports often name the values
        ({"taxonomy": [["Animal"], ["Animal", "Cat"]]}, ["Animal / Cat"]),  # says nothing more
        ({"taxonomy": [["Other"], ["added", "by", "hand"], "x", [3]]}, ["Other"]),
    ]
    unread = [
        {"taxonomy": []},
        {"taxonomy": [["Animal"]]},  # leaves open which
        {"taxonomy": [["Animal"], ["Other"]]},
        {"taxonomy": [["Thing"]]},
        {"taxonomy": ["Other"]},
        {"taxonomy": [["Dog"]]},
    ]
    written = [
        (["Animal / Dog"], {"taxonomy": [["Animal", "Dog"]]}),
        (["Other", "th / auto"], {"taxonomy": [["th", "auto"], ["Other"]]}),
    ]
    unwritten = [[], ["Animal"], ["Dog"]]

    def test_maps_names_that_a_model_may_have(self) -> None:
        assert self.control.predicted_values == {
            "Dog": "Animal / Dog",
            "poodle": "Animal / Dog",
            "auto": "th / auto",
            "Car": "th / auto",
        }

    @pytest.mark.parametrize(
        ("tag", "reason"),
        [
            ('<Taxonomy name="c" toName="t" apiUrl="http://x/"/>', "its choices from apiUrl"),
            ('<Taxonomy name="c" toName="t" value="$x"/>', "takes its choices from each task"),
            ('<Taxonomy name="c" toName="t"/>', "has no choices; list them"),
            ('<Taxonomy name="c" toName="t"><Choice value="A"/></Taxonomy>', "add a second"),
            (
                '<Taxonomy name="c" toName="t"><Choice value="A / B"/>'
                '<Choice value="A"><Choice value="B"/></Choice></Taxonomy>',
                "two choices with the path 'A / B'",
            ),
            ('<Taxonomy name="c" toName="t"><Choice/></Taxonomy>', "without a value"),
            (tag.replace("<Taxonomy ", '<Taxonomy labeling="true" '), "labels regions"),
        ],
    )
    def test_taxonomies_that_cannot_be_learned(self, tag: str, reason: str) -> None:
        check_not_learned(f"<View>{OBJECT}{tag}</View>", reason)


class TestTaxonomyOfOneAnswer(ControlContract):
    tag = f'<Taxonomy name="c" toName="t" maxUsages="1" leafsOnly="true">{TREE}</Taxonomy>'
    name = "Taxonomy"
    problem_type = "classification"
    labels = LEAVES
    read = [({"taxonomy": [["th", "auto"]]}, "th / auto"), ({"taxonomy": [["Other"]]}, "Other")]
    unread = [{"taxonomy": [["th"]]}, {"taxonomy": {}}]
    written = [("th / auto", {"taxonomy": [["th", "auto"]]})]
    unwritten = ["th", ""]


class TestNestedChoices(ControlContract):
    tag = (
        '<Choices name="c" toName="t" allowNested="true" choice="multiple"><View>'
        f"{TREE}</View></Choices>"
    )
    name = "Choices"
    problem_type = "multilabel"
    labels = LEAVES
    can_prelabel = False
    read = [
        ({"choices": [["Animal", "Dog"], ["Other"]]}, ["Animal / Dog", "Other"]),
        ({"choices": [["th", "auto"]]}, ["th / auto"]),
    ]
    unread = [{"choices": [["Animal"]]}, {"choices": ["Dog"]}, {"choices": [["Thing"]]}]
    written = [(["Other", "th / auto"], {"choices": [["th", "auto"], ["Other"]]})]
    unwritten = [[], ["Dog"]]


class TestNestedChoicesOfOneAnswer(ControlContract):
    tag = f'<Choices name="c" toName="t" allowNested="true">{TREE}</Choices>'
    name = "Choices"
    problem_type = "classification"
    labels = LEAVES
    can_prelabel = False
    read = [({"choices": [["Animal", "Cat"]]}, "Animal / Cat")]
    unread = [{"choices": [["Animal"]]}, {"choices": []}, {"choices": {}}]
    written = [("th / auto", {"choices": [["th", "auto"]]})]
    unwritten = ["Dog", "Animal"]


class TestTextAreaOfShortAnswers(ControlContract):
    tag = '<TextArea name="c" toName="t" model_learn="true"/>'
    name = "TextArea"
    problem_type = "classification"
    read = [
        ({"text": ["Acme"]}, "Acme"),
        ({"text": "  Acme\n Corp "}, "Acme Corp"),
        ({"text": ["two", "lines"]}, "two lines"),
    ]
    unread = [{"text": []}, {"text": [""]}, {"text": ["x" * 101]}, {"text": [1]}, {"text": {}}]
    written = [("Acme", {"text": ["Acme"]})]
    unwritten = [""]

    def test_its_classes_are_the_answers_that_came_again(self) -> None:
        labels = ["b", "a", "b", "c", None, "a", "a"]
        assert self.control.classes(labels) == ("a", "b")

    def test_free_text_is_not_learned(self) -> None:
        check_not_learned(f"<View>{OBJECT}{self.tag}</View>".replace("true", "false"), "free text")


class RegressionContract(ControlContract):
    """What tags with a number promise besides."""

    problem_type = "regression"

    def check(self, label: Any) -> None:
        assert label is None or (type(label) is float and math.isfinite(label))
        if label is not None and self.bounds is not None:
            assert self.bounds[0] <= label <= self.bounds[1]

    @inherited
    @given(st.floats(-1e9, 1e9))
    def test_writes_any_number_as_one_that_is_allowed(self, number: float) -> None:
        (item,) = self.control.write(number)
        (value,) = item["value"].values()
        assert math.isfinite(value)
        if self.bounds is not None:
            assert self.bounds[0] <= value <= self.bounds[1]
        assert self.control.read([item]) == value
        assert self.control.write(value) == [item]


class TestRating(RegressionContract):
    tag = '<Rating name="c" toName="t"/>'
    name = "Rating"
    bounds = (1.0, 5.0)
    read = [({"rating": 4}, 4.0), ({"rating": 1}, 1.0)]
    unread = [{"rating": 0}, {"rating": 6}, {"rating": True}, {"rating": "4"}, {"rating": None}]
    written = [
        (3.4, {"rating": 3}),
        (np.float32(3.6), {"rating": 4}),
        (-2.0, {"rating": 1}),
        (99.0, {"rating": 5}),
    ]
    unwritten = [math.nan, math.inf, None, "4"]

    def test_writes_whole_stars(self) -> None:
        assert type(self.control.write(3.0)[0]["value"]["rating"]) is int

    @pytest.mark.parametrize(
        ("stars", "reason"), [("1", "nothing to learn"), ("2.5", "whole number"), ("x", "whole")]
    )
    def test_ratings_that_cannot_be_learned(self, stars: str, reason: str) -> None:
        check_not_learned(self.config.replace("<Rating ", f'<Rating maxRating="{stars}" '), reason)


class TestNumber(RegressionContract):
    tag = '<Number name="c" toName="t" min="-1" max="10" step="0.25"/>'
    name = "Number"
    bounds = (-1.0, 10.0)
    read = [({"number": 3.5}, 3.5), ({"number": 0}, 0.0), ({"number": 1.1}, 1.1)]
    unread = [{"number": 11}, {"number": math.nan}, {"number": False}, {"number": 10**400}]
    written = [
        (3.6, {"number": 3.5}),
        (-7, {"number": -1.0}),
        (1e9, {"number": 10.0}),
        (0.1, {"number": 0.0}),
    ]
    unwritten = [math.nan, -math.inf, True]

    @pytest.mark.parametrize(
        ("attributes", "reason"),
        [
            ('min="3" max="3"', "goes from 3 to 3"),
            ('min="low"', 'has min="low"; make it a number'),
            ('max="inf"', "make it a number"),
            ('step="0"', "larger than 0"),
        ],
    )
    def test_numbers_that_cannot_be_learned(self, attributes: str, reason: str) -> None:
        check_not_learned(
            f'<View>{OBJECT}<Number name="c" toName="t" {attributes}/></View>', reason
        )


class TestNumberWithoutBounds(RegressionContract):
    tag = '<Number name="c" toName="t" min="0.5"/>'
    name = "Number"
    read = [({"number": 1e12}, 1e12)]
    unread = [{"number": 0.25}, {"number": 1e39}]
    written = [(2 / 3, {"number": 0.666667}), (0.1, {"number": 0.5}), (1e-9, {"number": 0.5})]
    unwritten = [math.inf]


class TestSlider(RegressionContract):
    tag = '<Slider name="c" toName="t" min="-5" max="5" step="0.5"/>'
    name = "Slider"
    bounds = (-5.0, 5.0)
    read = [({"slider": 4.5}, 4.5), ({"number": -5}, -5.0)]
    unread = [{"slider": 5.1}, {"slider": None, "number": 1}]
    written = [(0.3, {"slider": 0.5}), (9.0, {"slider": 5.0})]
    unwritten = [math.nan]


class TestNumberAsSlider(RegressionContract):
    tag = '<Number name="c" toName="t" slider="true" step="30"/>'
    name = "Number"
    bounds = (0.0, 100.0)
    read = [({"number": 90}, 90.0)]
    unread = [{"number": 101}]
    written = [(44.0, {"number": 30.0}), (100.0, {"number": 90.0})]  # 100 is not on the scale
    unwritten = [math.nan]


class TestPairwise(ControlContract):
    tag = '<Pairwise name="c" toName="t,u"/>'
    objects = '<Text name="t" value="$text"/><Image name="u" value="$image"/>'
    name = "Pairwise"
    problem_type = "classification"
    labels = ("left", "right")
    can_prelabel = False  # FACTS: the SDK, and so the import, refuses any Pairwise prediction
    to_name = "c"
    read = [({"selected": "left"}, "left"), ({"selected": "right"}, "right")]
    unread = [{"selected": "none"}, {"selected": None}, {"selected": ["left"]}]
    written = [("left", {"selected": "left"})]
    unwritten = ["none"]

    def test_content_is_what_it_labels(self) -> None:
        data = {"text": "a", "image": "/i.png"}
        assert self.task.content(data) == data
        assert [field.kind for field in self.task.fields] == ["text", "image"]

    @pytest.mark.parametrize("names", ["t", "t,t", "t,u,v"])
    def test_two_objects_are_compared(self, names: str) -> None:
        check_not_learned(self.config.replace("t,u", names), r"has to compare two objects")


class RegionContract(ControlContract):
    """What the tags that label regions promise beside."""

    problem_type = "regions"

    def test_other_values_are_no_labels(self) -> None:
        for value in self.unread:
            assert self.control.read(self.result(value)) is None, value

    def test_an_annotation_without_a_region_says_that_nothing_is_there(self) -> None:
        assert self.control.read([]) == []
        relation = {"from_id": "x", "to_id": "y", "type": "relation", "direction": "right"}
        of_another = self.result(self.read[0][0])[0] | {"from_name": "d"}
        assert self.control.read([relation, of_another]) == []


class TestLabels(RegionContract):
    tag = (
        '<Labels name="c" toName="t"><Label value="A" alias="al" predicted_values="a, B"/>'
        '<Label value="B"/><Label value="left"/></Labels>'
    )
    name = "Labels"
    labels = ("al", "B", "left")
    read = [
        ({"start": 2, "end": 5, "labels": ["B"]}, [[2, 5, "B"]]),
        ({"start": 2, "end": 5, "labels": ["A"]}, [[2, 5, "al"]]),  # imports often name the value
        ({"start": 0, "end": 1, "labels": ["B", "al", "gone", 3]}, [[0, 1, "B"], [0, 1, "al"]]),
    ]
    unread = [
        {"start": 2, "end": 5, "labels": ["gone"]},
        {"start": 2, "end": 2, "labels": ["B"]},
        {"start": 5, "end": 2, "labels": ["B"]},
        {"start": -1, "end": 2, "labels": ["B"]},
        {"start": True, "end": 2, "labels": ["B"]},
        {"start": "2", "end": "5", "labels": ["B"]},
        {"start": 2, "end": 5, "labels": "B"},
        {"start": 2, "end": 5},
    ]
    written = [
        ([[2, 5, "B"]], {"start": 2, "end": 5, "labels": ["B"]}),
        ([[0, 1, "al"]], {"start": 0, "end": 1, "labels": ["al"]}),
    ]
    unwritten = [[], [[0, 1, "gone"]], [[0, 1, "A"]]]

    def test_regions_are_written_with_what_stands_there_counted_in_code_points(self) -> None:
        regions = [(2, 5, "B", 0.5), (6, 9, "al", 0.25)]
        items = self.control.write_regions(regions, "\U0001f600 abc def")  # type: ignore[attr-defined]
        assert [item["value"]["text"] for item in items] == ["abc", "def"]
        assert [item["score"] for item in items] == [0.5, 0.25]

    @pytest.mark.parametrize(
        ("config", "reason"),
        [
            (OBJECT.replace("Text", "Paragraphs"), "labels regions of Paragraphs, which are not"),
            (OBJECT.replace("<Text ", '<Text valueType="url" '), "put the text into the task"),
        ],
    )
    def test_objects_whose_regions_are_not_learned(self, config: str, reason: str) -> None:
        check_not_learned(f"<View>{config}{self.tag}</View>", reason)

    def test_labels_that_cannot_be_learned(self) -> None:
        for tag, reason in (
            ('<Labels name="c" toName="t"/>', "has no labels; list them"),
            ('<Labels name="c" toName="t" value="$l"/>', "takes its labels from each task"),
        ):
            check_not_learned(f"<View>{OBJECT}{tag}</View>", reason)


class TestHyperTextLabels(RegionContract):
    objects = '<HyperText name="t" value="$text"/>'
    tag = (
        '<HyperTextLabels name="c" toName="t"><Label value="A"/><Label value="B"/>'
        "</HyperTextLabels>"
    )
    name = "HyperTextLabels"
    labels = ("A", "B")
    read = [
        (
            {
                "start": "/p[1]/text()[1]",
                "end": "/p[1]/text()[1]",
                "startOffset": 0,
                "endOffset": 3,
                "globalOffsets": {"start": 2, "end": 5},
                "hypertextlabels": ["B"],
            },
            [[2, 5, "B"]],
        ),
    ]
    unread = [
        {"start": 2, "end": 5, "hypertextlabels": ["B"]},
        {"globalOffsets": {"start": 5, "end": 2}, "hypertextlabels": ["B"]},
        {"globalOffsets": {"start": 2, "end": 5}, "hypertextlabels": ["gone"]},
    ]
    written = [
        (
            [[2, 5, "B"]],
            {
                "start": "",
                "end": "",
                "startOffset": 0,
                "endOffset": 0,
                "globalOffsets": {"start": 2, "end": 5},
                "hypertextlabels": ["B"],
            },
        ),
    ]
    unwritten = [[], [[0, 1, "gone"]]]

    def test_regions_are_written_with_what_stands_there(self) -> None:
        (item,) = self.task.regions[0].write_regions([(1, 4, "B", 0.5)], "<p>a</p><p>b &amp;</p>")
        assert item["value"] == {
            "start": "/p[2]/text()[1]",
            "end": "/p[2]/text()[1]",
            "startOffset": 0,
            "endOffset": 3,
            "globalOffsets": {"start": 1, "end": 4},
            "text": "b &",
            "hypertextlabels": ["B"],
        }


class TestParagraphLabels(RegionContract):
    objects = '<Paragraphs name="t" value="$text"/>'
    tag = (
        '<ParagraphLabels name="c" toName="t"><Label value="A"/><Label value="B"/>'
        "</ParagraphLabels>"
    )
    name = "ParagraphLabels"
    labels = ("A", "B")
    read = [
        (
            {
                "start": "0",
                "end": "0",
                "startOffset": 2,
                "endOffset": 5,
                "paragraphlabels": ["A"],
            },
            [[2, 5, "A"]],
        ),
        (
            {
                "start": "1",
                "end": "2",
                "startOffset": 2,
                "endOffset": 1,
                "paragraphlabels": ["B"],
            },
            [[PARAGRAPH + 2, 2 * PARAGRAPH + 1, "B"]],
        ),
    ]
    unread = [
        {"start": "0", "end": "0", "paragraphlabels": ["A"]},
        {
            "start": "x",
            "end": "0",
            "startOffset": 0,
            "endOffset": 5,
            "paragraphlabels": ["A"],
        },
        {
            "start": "0",
            "end": "0",
            "startOffset": 5,
            "endOffset": 5,
            "paragraphlabels": ["A"],
        },
    ]
    written = [
        (
            [[PARAGRAPH + 2, PARAGRAPH + 5, "B"]],
            {
                "start": "1",
                "end": "1",
                "startOffset": 2,
                "endOffset": 5,
                "paragraphlabels": ["B"],
            },
        ),
    ]
    unwritten = [[], [[0, 1, "gone"]]]

    def test_content_is_what_it_labels(self) -> None:
        data = {"text": [{"author": "x", "text": "a"}], "other": "b"}
        assert self.task.content(data) == {"text": '[["x", "a"]]'}

    def test_regions_are_written_with_what_stands_there_counted_in_utf16_units(self) -> None:
        regions = [(PARAGRAPH + 3, PARAGRAPH + 6, "B", 0.5)]
        content = '[["", "x"], ["", "\U0001f600 abc"]]'
        (item,) = self.task.regions[0].write_regions(regions, content)
        assert item["value"]["text"] == "abc"


class TestRectangleLabels(RegionContract):
    tag = (
        '<RectangleLabels name="c" toName="t"><Label value="A" alias="al"/><Label value="B"/>'
        "</RectangleLabels>"
    )
    objects = '<Image name="t" value="$text"/>'
    name = "RectangleLabels"
    labels = ("al", "B")
    box = {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0}
    read = [
        (box | {"rectanglelabels": ["B"]}, [[[10.0, 20.0], [40.0, 60.0], "B"]]),
        (box | {"rectanglelabels": ["A"]}, [[[10.0, 20.0], [40.0, 60.0], "al"]]),
        (
            {"x": -5, "y": 90.1234, "width": 200, "height": 20, "rectanglelabels": ["B"]},
            [[[0.0, 90.123], [100.0, 100.0], "B"]],
        ),
        # Turned by 90 degrees around its upper left corner, in a square image.
        (box | {"rotation": 90, "x": 50, "rectanglelabels": ["B"]},
         [[[10.0, 20.0], [50.0, 50.0], "B"]]),
    ]  # fmt: skip
    unread = [
        box | {"rectanglelabels": ["gone"]},
        box | {"rectanglelabels": "B"},
        box | {"width": 0, "rectanglelabels": ["B"]},
        box | {"x": 100, "rectanglelabels": ["B"]},
        box | {"x": "10", "rectanglelabels": ["B"]},
        box | {"y": True, "rectanglelabels": ["B"]},
        box | {"height": math.nan, "rectanglelabels": ["B"]},
        {"x": 1, "y": 1, "rectanglelabels": ["B"]},
    ]
    written = [
        ([[[10, 20], [40, 60], "B"]], box | {"rectanglelabels": ["B"]}),
        ([[[10, 20], [40, 60], "al"]], box | {"rectanglelabels": ["al"]}),
    ]
    unwritten = [[], [[[0, 0], [1, 1], "gone"]]]

    def test_a_turned_box_is_read_as_what_encloses_it_in_pixels(self) -> None:
        """A square of 100 pixels, turned by 45 degrees, in an image twice as wide as high."""
        value = {"x": 50, "y": 25, "width": 12.5, "height": 25, "rotation": 45}
        item = self.result(value | {"rectanglelabels": ["B"]})[0]
        (found,) = self.control.read([item | {"original_width": 800, "original_height": 400}])
        side = 100 * 2**0.5
        assert found[0] == pytest.approx([50 - 50 * side / 800, 25], abs=1e-2)
        assert found[1] == pytest.approx([50 + 50 * side / 800, 25 + 100 * side / 400], abs=1e-2)

    def test_several_images_of_a_task_are_not_learned(self) -> None:
        objects = '<Image name="t" valueList="$images"/>'
        check_not_learned(f"<View>{objects}{self.tag}</View>", "of several images \\(valueList")


class TestEllipseLabels(RegionContract):
    tag = '<EllipseLabels name="c" toName="t"><Label value="A"/><Label value="B"/></EllipseLabels>'
    objects = '<Image name="t" value="$text"/>'
    name = "EllipseLabels"
    labels = ("A", "B")
    ellipse = {"x": 50, "y": 40, "radiusX": 20, "radiusY": 10, "rotation": 0}
    read = [
        (ellipse | {"ellipselabels": ["B"]}, [[[30.0, 30.0], [70.0, 50.0], "B"]]),
        # Turned by a quarter, in a square image.
        (ellipse | {"rotation": 90, "ellipselabels": ["A"]}, [[[40.0, 20.0], [60.0, 60.0], "A"]]),
    ]
    unread = [
        ellipse | {"ellipselabels": ["gone"]},
        ellipse | {"radiusX": 0, "ellipselabels": ["B"]},
        ellipse | {"radiusY": -1, "ellipselabels": ["B"]},
        ellipse | {"x": math.inf, "ellipselabels": ["B"]},
        ellipse | {"x": 200, "ellipselabels": ["B"]},
        {"x": 1, "y": 1, "ellipselabels": ["B"]},
    ]
    written = [([[[30, 30], [70, 50], "B"]], ellipse | {"ellipselabels": ["B"]})]
    unwritten = [[], [[[0, 0], [1, 1], "gone"]]]

    def test_a_turned_ellipse_is_read_as_what_encloses_it_in_pixels(self) -> None:
        """A circle is the same however it is turned, in an image twice as wide as high."""
        value = {"x": 50, "y": 50, "radiusX": 10, "radiusY": 20, "ellipselabels": ["B"]}
        size = {"original_width": 800, "original_height": 400}
        for degrees in (0, 30, 90):
            item = self.result(value | {"rotation": degrees})[0] | size
            assert self.control.read([item]) == [[[40.0, 30.0], [60.0, 70.0], "B"]]


class TestPolygonLabels(RegionContract):
    tag = '<PolygonLabels name="c" toName="t"><Label value="A"/><Label value="B"/></PolygonLabels>'
    objects = '<Image name="t" value="$text"/>'
    name = "PolygonLabels"
    labels = ("A", "B")
    square = {"points": [[25.0, 25.0], [50.0, 25.0], [50.0, 75.0], [25.0, 75.0]], "closed": True}
    mask = [[25.0, 25.0], [50.0, 75.0, "ff" * 64], "B"]
    read = [
        (square | {"polygonlabels": ["B"]}, [mask]),
        (square | {"closed": False, "polygonlabels": ["B"]}, [mask]),
        (
            {"points": [[-9, 50], [1e8, 50], [100, 200], [0, 1000]], "polygonlabels": ["A"]},
            [[[0.0, 50.0], [100.0, 100.0, "ff" * 256], "A"]],
        ),
    ]
    unread = [
        square | {"polygonlabels": ["gone"]},
        square | {"points": square["points"][:2], "polygonlabels": ["B"]},
        square | {"points": [[20, 20], [40, 20], [40, math.nan]], "polygonlabels": ["B"]},
        square | {"points": [[20, 20], [40, 20], [40, 10**400]], "polygonlabels": ["B"]},
        square | {"points": [[20, 20], [40, 20], [40]], "polygonlabels": ["B"]},
        square | {"points": [[20, 20], [40, 20], "40"], "polygonlabels": ["B"]},
        square | {"points": [[20, 20], [40, 20], [40, True]], "polygonlabels": ["B"]},
        square | {"points": [[20, 20], [40, 60]] * 10_000, "polygonlabels": ["B"]},
        {"polygonlabels": ["B"]},
    ]
    written = [([mask], square | {"polygonlabels": ["B"]})]
    unwritten = [[], [[*mask[:2], "gone"]]]


class TestKeyPointLabels(RegionContract):
    tag = (
        '<KeyPointLabels name="c" toName="t"><Label value="A"/><Label value="B"/></KeyPointLabels>'
    )
    objects = '<Image name="t" value="$text"/>'
    name = "KeyPointLabels"
    labels = ("A", "B")
    point = {"x": 12.5, "y": 100, "width": 1}
    read = [
        (point | {"keypointlabels": ["B"]}, [[[12.5, 100.0], [12.5, 100.0], "B"]]),
        ({"x": 0, "y": 0.12345, "keypointlabels": ["A"]}, [[[0.0, 0.123], [0.0, 0.123], "A"]]),
    ]
    unread = [
        point | {"keypointlabels": ["gone"]},
        point | {"x": -1, "keypointlabels": ["B"]},
        point | {"y": 100.5, "keypointlabels": ["B"]},
        point | {"y": math.nan, "keypointlabels": ["B"]},
        point | {"x": True, "keypointlabels": ["B"]},
        point | {"x": "1", "keypointlabels": ["B"]},
        {"x": 1, "keypointlabels": ["B"]},
    ]
    written = [([[[12.5, 100], [12.5, 100], "B"]], point | {"keypointlabels": ["B"]})]
    unwritten = [[], [[[0, 0], [0, 0], "gone"]]]


class TestBrushLabels(RegionContract):
    tag = '<BrushLabels name="c" toName="t"><Label value="A"/><Label value="B"/></BrushLabels>'
    objects = '<Image name="t" value="$text"/>'
    name = "BrushLabels"
    labels = ("A", "B")
    size = {"original_width": 640, "original_height": 320}
    square = np.zeros((64, 64), bool)
    square[16:48, 16:32] = True
    drawn = {"format": "rle", "rle": write_brush(square, 640, 320)}
    mask = [[25.0, 25.0], [50.0, 75.0, "ff" * 64, 640, 320], "B"]
    read = [(drawn | {"brushlabels": ["B"]}, [mask])]
    unread = [
        drawn | {"brushlabels": ["gone"]},
        drawn | {"format": "png", "brushlabels": ["B"]},
        drawn | {"rle": drawn["rle"][:-3], "brushlabels": ["B"]},
        drawn | {"rle": write_brush(square, 320, 640)[:9], "brushlabels": ["B"]},
        drawn | {"rle": write_brush(square & False, 640, 320), "brushlabels": ["B"]},
        {"format": "rle", "brushlabels": ["B"]},
    ]
    written = [([mask], drawn | {"brushlabels": ["B"]})]
    unwritten = [
        [],
        [[*mask[:2], "gone"]],
        [[[25.0, 25.0], [50.0, 75.0, "ff" * 64, 30_000, 30_000], "B"]],
        [[[25.0, 25.0], [50.0, 75.0, "ff" * 64, 0, 0], "B"]],
    ]

    def result(self, value: Any) -> list[dict[str, Any]]:
        (item,) = super().result(value)
        return [item | self.size]

    def test_a_mask_without_the_size_of_its_image_is_not_read(self) -> None:
        (item,) = self.result(self.read[0][0])
        for size in ({}, {"original_width": 320, "original_height": 320}, {"original_width": "1"}):
            bare = {key: one for key, one in item.items() if key not in self.size}
            assert self.control.read([bare | size]) is None


class TestAudioLabels(RegionContract):
    objects = '<Audio name="t" value="$text"/>'
    tag = (
        '<Labels name="c" toName="t"><Label value="A" alias="al"/><Label value="B"/>'
        '<Label value="left"/></Labels>'
    )
    name = "Labels"
    labels = ("al", "B", "left")
    segment = {"start": 0.25, "end": 1.5, "channel": 0}
    read = [
        (segment | {"labels": ["B"]}, [[0.25, 1.5, "B"]]),
        (segment | {"channel": 1, "labels": ["A"]}, [[0.25, 1.5, "al"]]),
        ({"start": 0, "end": 10**6, "labels": ["B"]}, [[0.0, 1e6, "B"]]),
    ]
    unread = [
        segment | {"labels": ["gone"]},
        segment | {"labels": "B"},
        segment | {"end": 0.25, "labels": ["B"]},
        segment | {"end": 0.1, "labels": ["B"]},
        segment | {"start": -1, "labels": ["B"]},
        segment | {"start": True, "labels": ["B"]},
        segment | {"start": "0.25", "labels": ["B"]},
        segment | {"start": math.nan, "labels": ["B"]},
        segment | {"end": math.inf, "labels": ["B"]},
        segment | {"end": 10**400, "labels": ["B"]},
        {"end": 1.5, "labels": ["B"]},
    ]
    written = [
        ([[0.25, 1.5, "B"]], segment | {"labels": ["B"]}),
        ([[0.25, 1.5, "al"]], segment | {"labels": ["al"]}),
    ]
    unwritten = [[], [[0.0, 1.0, "gone"]]]


class TestTimeSeriesLabels(RegionContract):
    channel = '<Channel column="x"/></TimeSeries>'
    objects = f'<TimeSeries name="t" value="$text" timeColumn="time">{channel}'
    tag = (
        '<TimeSeriesLabels name="c" toName="t"><Label value="A" alias="al"/><Label value="B"/>'
        "</TimeSeriesLabels>"
    )
    name = "TimeSeriesLabels"
    labels = ("al", "B")
    segment = {"start": 5, "end": 15.5, "instant": False}
    read = [
        (segment | {"timeserieslabels": ["B"]}, [[5.0, 15.5, "B"]]),
        (segment | {"start": "5", "timeserieslabels": ["A"]}, [[5.0, 15.5, "al"]]),
        (
            {"start": 7, "end": 7, "instant": True, "timeserieslabels": ["B"]},
            [[7.0, 7.0, "B"]],
        ),
    ]
    unread = [
        segment | {"timeserieslabels": ["gone"]},
        segment | {"timeserieslabels": "B"},
        segment | {"end": 4, "timeserieslabels": ["B"]},
        segment | {"start": "noon", "timeserieslabels": ["B"]},
        segment | {"start": math.nan, "timeserieslabels": ["B"]},
        segment | {"start": "nan", "timeserieslabels": ["B"]},
        segment | {"end": math.inf, "timeserieslabels": ["B"]},
        segment | {"end": True, "timeserieslabels": ["B"]},
        {"start": 5, "timeserieslabels": ["B"]},
    ]
    written = [
        ([[5.0, 15.5, "B"]], segment | {"timeserieslabels": ["B"]}),
        ([[7.0, 7.0, "al"]],
         {"start": 7, "end": 7, "instant": True, "timeserieslabels": ["al"]}),
    ]  # fmt: skip
    unwritten = [[], [[0.0, 1.0, "gone"]]]

    def test_content_is_what_it_labels(self) -> None:
        data = {"text": {"time": [1, 2], "X": [3, 4], "z": [5, 6]}, "other": "b"}
        assert self.task.content(data) == {"text": '{"X": [3, 4], "time": [1, 2]}'}


class TestTimeSeriesLabelsOfDates(TestTimeSeriesLabels):
    objects = (
        '<TimeSeries name="t" value="$text" timeColumn="time" timeFormat="%Y-%m-%d %H:%M:%S.%f">'
        f"{TestTimeSeriesLabels.channel}"
    )
    start, end = 1578096000000.0, 1578700800250.0
    segment = {
        "start": "2020-01-04 00:00:00.000000",
        "end": "2020-01-11 00:00:00.250000",
        "instant": False,
    }
    read = [
        (segment | {"timeserieslabels": ["B"]}, [[start, end, "B"]]),
        (segment | {"start": start, "end": end, "timeserieslabels": ["B"]}, [[start, end, "B"]]),
        (
            segment | {"end": segment["start"], "timeserieslabels": ["A"]},
            [[start, start, "al"]],
        ),
    ]
    unread = [
        segment | {"start": "2020-01-04", "timeserieslabels": ["B"]},
        segment | {"start": "5", "timeserieslabels": ["B"]},
        segment | {"end": "2020-01-03 00:00:00.000000", "timeserieslabels": ["B"]},
        segment | {"end": 1e14 * 3, "timeserieslabels": ["B"]},
        segment | {"start": math.nan, "timeserieslabels": ["B"]},
    ]
    written = [
        ([[start, end, "B"]], segment | {"timeserieslabels": ["B"]}),
        (
            [[start, start, "al"]],
            segment | {"end": segment["start"], "instant": True, "timeserieslabels": ["al"]},
        ),
    ]

    @pytest.mark.parametrize(
        ("attributes", "reason"),
        [
            ('timeFormat="%Y"', "name the column"),
            ('timeColumn="time" timeFormat="%Y %q"', "timeFormat cannot be read: '%q' is not read"),
        ],
    )
    def test_times_that_are_not_read(self, attributes: str, reason: str) -> None:
        objects = f'<TimeSeries name="t" value="$text" {attributes}>{self.channel}'
        check_not_learned(f"<View>{objects}{self.tag}</View>", reason)


def test_every_registered_tag_has_its_class_here() -> None:
    contracts = [ControlContract]
    for contract in contracts:
        contracts += contract.__subclasses__()
    assert {contract.name for contract in contracts if "name" in vars(contract)} == set(REGISTRY)
