"""Tags that label a task as a whole hold the contract of control tags."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.labeling.controls import REGISTRY
from control_contract import OBJECT, ControlContract, check_not_learned


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
            ('<Choices name="c" toName="t" value="$list"/>', 'or add model_learn="true"'),
            (
                '<Choices name="c" toName="t" value="$list" choice="multiple" model_learn="true"/>',
                r"list them as <Choice value=.../> instead$",
            ),
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


class TestChoicesOfTheTasks(ControlContract):
    """The config does not list them, each task brings them; the same ones, says its author."""

    tag = '<Choices name="c" toName="t" value="$options" model_learn="true"/>'
    name = "Choices"
    problem_type = "classification"
    read = [({"choices": ["spam"]}, "spam"), ({"choices": ["b", "a"]}, "b")]
    unread = [{"choices": []}, {"choices": [""]}, {"choices": ["x" * 101]}, {"choices": "spam"}]
    written = [("spam", {"choices": ["spam"]})]
    unwritten = [""]

    def test_its_classes_are_those_that_were_chosen_again(self) -> None:
        assert self.control.classes(["b", "a", "b", "c", None, "a"]) == ("a", "b")


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


def test_every_registered_tag_has_its_class_here() -> None:
    for path in Path(__file__).parent.glob("test_*_controls.py"):
        import_module(path.stem)
    contracts = [ControlContract]
    for contract in contracts:
        contracts += contract.__subclasses__()
    assert {contract.name for contract in contracts if "name" in vars(contract)} == set(REGISTRY)
