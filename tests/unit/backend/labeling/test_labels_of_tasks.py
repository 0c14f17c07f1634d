"""Which label the annotations of a task make, and how many agree with it."""

from __future__ import annotations

import itertools
import json
import random
from typing import Any

import pytest
from active_learn_backend.labeling.annotations import count_votes, is_skipped, resolve_label
from active_learn_backend.labeling.config import parse_label_config
from hypothesis import given
from hypothesis import strategies as st

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


def test_results_of_other_controls_and_unknown_labels_are_no_labels() -> None:
    control = parse_label_config(CONFIG).controls[0]
    text = {"from_name": "t", "to_name": "i", "type": "textarea", "value": {"text": ["B"]}}
    gone = {"from_name": "c", "to_name": "i", "type": "choices", "value": {"choices": ["C"]}}
    for result in ([], [text], [gone], [{"from_name": "c"}], [{"from_name": "c", "value": 3}]):
        assert control.read(result) is None
    assert control.read([text, *control.write("B")]) == "B"


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
