"""Tags that label regions of images hold the contract of control tags."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from active_learn_backend.labeling.bitmask_png import write_bitmask
from active_learn_backend.labeling.brush_rle import write_brush
from active_learn_backend.labeling.controls.mask_tag import MOST_WORK
from control_contract import RegionContract, check_not_learned


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


SQUARE = np.zeros((64, 64), bool)
SQUARE[16:48, 16:32] = True
MASK: Any = [[25.0, 25.0], [50.0, 75.0, "ff" * 64, 640, 320], "B"]


class MaskContract(RegionContract):
    """What holds for masks, however they are stored."""

    objects = '<Image name="t" value="$text"/>'
    labels = ("A", "B")
    size = {"original_width": 640, "original_height": 320}
    unwritten = [
        [],
        [[*MASK[:2], "gone"]],
        [[[25.0, 25.0], [50.0, 75.0, "ff" * 64, 30_000, 30_000], "B"]],
        [[[25.0, 25.0], [50.0, 75.0, "ff" * 64, 0, 0], "B"]],
    ]

    def result(self, value: Any) -> list[dict[str, Any]]:
        (item,) = super().result(value)
        return [item | self.size]


class TestBrushLabels(MaskContract):
    tag = '<BrushLabels name="c" toName="t"><Label value="A"/><Label value="B"/></BrushLabels>'
    name = "BrushLabels"
    drawn = {"format": "rle", "rle": write_brush(SQUARE, 640, 320)}
    read = [(drawn | {"brushlabels": ["B"]}, [MASK])]
    unread = [
        drawn | {"brushlabels": ["gone"]},
        drawn | {"format": "png", "brushlabels": ["B"]},
        drawn | {"rle": drawn["rle"][:-3], "brushlabels": ["B"]},
        drawn | {"rle": write_brush(SQUARE, 320, 640)[:9], "brushlabels": ["B"]},
        drawn | {"rle": write_brush(SQUARE & False, 640, 320), "brushlabels": ["B"]},
        {"format": "rle", "brushlabels": ["B"]},
    ]
    written = [([MASK], drawn | {"brushlabels": ["B"]})]

    def test_a_mask_without_the_size_of_its_image_is_not_read(self) -> None:
        (item,) = self.result(self.read[0][0])
        for size in ({}, {"original_width": 320, "original_height": 320}, {"original_width": "1"}):
            bare = {key: one for key, one in item.items() if key not in self.size}
            assert self.control.read([bare | size]) is None

    def test_of_an_annotation_only_so_much_is_read(self) -> None:
        """One person could keep the worker busy with very many masks."""
        readable = self.result(self.read[0][0])
        long = self.result(self.read[0][0] | {"rle": [0] * 900_000})
        assert self.control.read([*readable, *long * 3]) is not None
        assert self.control.read([*readable, *long * (MOST_WORK // 900_000 + 1)]) is None


class TestBitmaskLabels(MaskContract):
    tag = '<BitmaskLabels name="c" toName="t"><Label value="A"/><Label value="B"/></BitmaskLabels>'
    name = "BitmaskLabels"
    drawn = {"imageDataURL": write_bitmask(SQUARE, 640, 320)}
    read = [(drawn | {"bitmasklabels": ["B"]}, [MASK])]
    unread = [
        drawn | {"bitmasklabels": ["gone"]},
        {"imageDataURL": drawn["imageDataURL"][:-60], "bitmasklabels": ["B"]},
        {"imageDataURL": write_bitmask(SQUARE & False, 640, 320), "bitmasklabels": ["B"]},
        {"imageDataURL": ["data:image/png;base64,"], "bitmasklabels": ["B"]},
        {"bitmasklabels": ["B"]},
    ]
    written = [([MASK], drawn | {"bitmasklabels": ["B"]})]

    def test_of_an_annotation_only_so_many_pixels_are_read(self) -> None:
        readable = self.result(self.read[0][0])
        large = write_bitmask(SQUARE, 9_000, 9_000)
        items = self.result({"imageDataURL": large, "bitmasklabels": ["B"]})
        assert self.control.read([*readable, *items * 5]) is None
