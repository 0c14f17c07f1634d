"""What an interactive answer leaves out: what the annotation holds already."""

from __future__ import annotations

from typing import Any

from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.web.interactive import controls_to_answer, without_known_regions

TASK = parse_label_config(
    '<View><Text name="text" value="$text"/>'
    '<Labels name="label" toName="text"><Label value="ORG"/><Label value="LOC"/></Labels>'
    '<Choices name="tone" toName="text"><Choice value="good"/><Choice value="bad"/></Choices>'
    "</View>"
)
# As the frontend of Label Studio sends it when somebody has drawn a region.
DRAWN = {
    "value": {"start": 32, "end": 37, "text": "Apple", "labels": ["ORG"]},
    "id": "1aa-14p0B6", "from_name": "label", "to_name": "text", "type": "labels",
    "origin": "manual",
}  # fmt: skip
TONE = {
    "value": {"choices": ["good"]}, "from_name": "tone", "to_name": "text", "type": "choices",
}  # fmt: skip


def names(annotated: Any) -> list[str]:
    return [one.from_name for one in controls_to_answer(TASK, annotated)]


def region(start: int, end: int, label: str) -> dict[str, Any]:
    value = {"start": start, "end": end, "labels": [label]}
    return {"from_name": "label", "to_name": "text", "type": "labels", "value": value, "score": 0.9}


def test_regions_are_answered_again_and_choices_are_not() -> None:
    assert names([DRAWN, TONE]) == ["label"]
    for nothing in (None, [], [DRAWN], "x", [3, None], {"result": 1}):
        assert names(nothing) == ["label", "tone"]


def test_a_box_that_was_drawn_is_no_suggestion() -> None:
    task = parse_label_config(
        '<View><Image name="image" value="$image"/>'
        '<RectangleLabels name="box" toName="image"><Label value="cat"/></RectangleLabels></View>'
    )

    def box(x: float) -> dict[str, Any]:
        value = {"x": x, "y": 10, "width": 20, "height": 20, "rotation": 0}
        return {
            "from_name": "box", "to_name": "image", "type": "rectanglelabels",
            "original_width": 100, "original_height": 80,
            "value": {**value, "rectanglelabels": ["cat"]},
        }  # fmt: skip

    assert without_known_regions(task, [box(10)], [box(10), box(50)]) == [box(50)]


def test_a_region_that_was_drawn_is_no_suggestion() -> None:
    same, moved, other = region(32, 37, "ORG"), region(32, 38, "ORG"), region(32, 37, "LOC")
    found = [same, moved, other, TONE]
    assert without_known_regions(TASK, [DRAWN], found) == [moved, other, TONE]
    assert without_known_regions(TASK, None, found) == found
