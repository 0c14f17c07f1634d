"""How the regions of several annotators become one list, and which agree."""

from __future__ import annotations

from typing import Any

import pytest
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.labeling.regions import agreement, merge_regions

CONFIG = (
    '<View><Labels name="label" toName="text"><Label value="A"/><Label value="B"/></Labels>'
    '<Text name="text" value="$text"/></View>'
)
ONE, WIDER, FAR = [0, 10, "A"], [0, 8, "A"], [20, 30, "A"]


@pytest.mark.parametrize(
    ("votes", "kept"),
    [
        ([[ONE]], [ONE]),
        ([[]], []),
        ([[ONE], [ONE], []], [ONE]),  # two of three
        ([[ONE], [], []], []),
        ([[ONE], [WIDER], [WIDER]], [WIDER]),  # one region, with the borders of most
        ([[ONE], [WIDER], []], [WIDER]),  # as many each: those of the latest
        ([[ONE], [[0, 10, "B"]], []], []),  # of another label it is another region
        ([[ONE], []], []),  # half have it: the latest decides
        ([[], [ONE]], [ONE]),
        ([[ONE, FAR], [FAR], [ONE, FAR]], [ONE, FAR]),
        ([[ONE], [[6, 16, "A"]], [[6, 16, "A"]]], [[6, 16, "A"]]),  # they overlap by a quarter
    ],
)
def test_most_annotators_decide_on_each_region(
    votes: list[list[list[Any]]], kept: list[list[Any]]
) -> None:
    assert merge_regions(votes) == kept


def test_a_region_counts_once_for_an_annotator_who_marked_two_like_it() -> None:
    assert merge_regions([[ONE, WIDER], [], []]) == []


def test_f1_of_regions() -> None:
    assert agreement([], []) == 1
    assert agreement([ONE], []) == 0
    assert agreement([ONE, FAR], [ONE, WIDER]) == 0.5


def annotation(number: int, *regions: list[Any], **more: Any) -> dict[str, Any]:
    control = parse_label_config(CONFIG).controls[0]
    return {
        "id": number,
        "created_at": f"2026-01-0{number}",
        "result": control.write(regions),
    } | more


def test_a_task_is_labeled_by_an_empty_annotation_but_not_by_a_skip() -> None:
    task = parse_label_config(CONFIG)
    assert task.labels([]) is None
    assert task.labels([annotation(1)]) == {"label": []}
    assert task.labels([annotation(1, was_cancelled=True)]) is None
    both = [annotation(1, ONE), annotation(2, ONE, FAR), annotation(3, was_cancelled=True)]
    assert task.labels(both) == {"label": [ONE, FAR]}
    assert task.votes(both) == {"label": [2, pytest.approx(1 / 3)]}


def test_ground_truth_wins() -> None:
    task = parse_label_config(CONFIG)
    assert task.labels([annotation(1, ONE, ground_truth=True), annotation(2), annotation(3)]) == {
        "label": [ONE]
    }
