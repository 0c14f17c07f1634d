"""Shapes in an image: drawn from points, kept as text, compared, and traced again."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.labeling.masks import (
    GRID,
    mask_of,
    outline,
    rasterise,
    shape_of,
)
from active_learn_backend.labeling.regions import (
    Region,
    agreement,
    count_matches,
    merge_regions,
    overlap,
    sorted_regions,
)
from hypothesis import given, settings
from hypothesis import strategies as st

SQUARE = [(25.0, 25.0), (75.0, 25.0), (75.0, 75.0), (25.0, 75.0)]
CORNERS = st.tuples(st.floats(0, 100), st.floats(0, 100))


def region(points: list[tuple[float, float]], label: str = "A") -> list[object]:
    shape = shape_of(rasterise(points))
    assert shape is not None
    return [*shape, label]


def circle(x: float, y: float, radius: float) -> list[tuple[float, float]]:
    turns = np.linspace(0, 2 * math.pi, 40, endpoint=False)
    return [(x + radius * math.cos(one), y + radius * math.sin(one)) for one in turns]


def test_a_polygon_has_the_area_that_it_encloses() -> None:
    assert rasterise(SQUARE).mean() == 0.25
    assert rasterise(circle(50, 50, 30)).mean() == pytest.approx(math.pi * 0.09, rel=0.01)


def test_what_crosses_itself_is_in_by_the_even_odd_rule() -> None:
    bow_tie = rasterise([(0, 0), (100, 100), (100, 0), (0, 100)])
    assert bow_tie.mean() == pytest.approx(0.5, abs=0.03)
    assert bow_tie[GRID // 2, 2]
    assert not bow_tie[2, GRID // 2]


def test_a_polygon_smaller_than_a_square_of_the_grid_is_not_lost() -> None:
    mask = rasterise([(50.1, 50.1), (50.9, 50.1), (50.9, 50.9)])
    assert mask.sum() == 1
    assert mask[GRID // 2, GRID // 2]


@given(st.lists(CORNERS, min_size=3, max_size=12))
@settings(max_examples=50)
def test_a_shape_keeps_its_mask_in_json(points: list[tuple[float, float]]) -> None:
    mask = rasterise(points)
    shape = shape_of(mask)
    if shape is None:
        assert not mask.any()
        return
    start, end = json.loads(json.dumps(shape))
    assert np.array_equal(mask_of(start, end), mask)
    assert overlap(Region.of([start, end, "A"]), Region.of([*shape, "A"])) == 1
    assert mask[rasterise(outline(mask)) & mask].any()


def test_the_outline_of_what_fills_squares_is_exact() -> None:
    step = [(0, 0), (50, 0), (50, 25), (25, 25), (25, 50), (0, 50)]
    assert outline(rasterise(step)) == step
    assert outline(rasterise(SQUARE)) == SQUARE


def test_an_outline_goes_around_holes_and_the_largest_piece() -> None:
    mask = np.zeros((GRID, GRID), bool)
    mask[16:48, 16:48] = True
    mask[30:34, 30:34] = False
    mask[0, 0] = mask[48, 48] = mask[15, 15] = True  # two of them touch it by a corner
    assert outline(mask) == SQUARE


def test_an_outline_stays_at_a_square_that_touches_another_by_a_corner() -> None:
    mask = np.zeros((GRID, GRID), bool)
    mask[:3, :3] = True
    mask[0, 2] = mask[1, 1] = False  # (0, 1) and (1, 2) are joined around by the left and below
    assert np.array_equal(rasterise(outline(mask)), mask)


def test_shapes_are_the_same_by_half_of_the_union_of_their_masks() -> None:
    whole, disk = region(SQUARE), region(circle(50, 50, 25))
    corner = region([(25, 25), (75, 25), (25, 75)])
    share = overlap(Region.of(whole), Region.of(disk))
    assert share == pytest.approx(math.pi / 4, rel=0.02)
    assert overlap(Region.of(whole), Region.of(region(circle(10, 10, 5)))) == 0
    assert count_matches([whole], [disk]) == 1
    assert count_matches([whole], [[*disk[:2], "B"]]) == 0
    # Their boxes are the same, but they have a third of the union in common.
    other = region([(75, 75), (75, 25), (25, 75)])
    assert overlap(Region.of(corner), Region.of(other)) < 0.1
    assert merge_regions([[whole], [disk], [whole]]) == sorted_regions([whole])
    assert merge_regions([[corner], [other], []]) == []


def test_points_are_the_same_if_they_are_near() -> None:
    one, near, far = ([[x, 50.0], [x, 50.0], "A"] for x in (50.0, 55.0, 57.0))
    assert count_matches([one], [near]) == 1
    assert count_matches([one], [far]) == 0
    assert count_matches([one, near], [one, near]) == 2
    assert agreement([one], [near]) == 1
    assert merge_regions([[one], [near], [near]]) == [near]
    assert merge_regions([[one], [far], []]) == []


@pytest.mark.parametrize(
    ("tag", "region", "path"),
    [
        ("RectangleLabels", [(10, 20), (30.5, 40)], "M10 20L30.5 20L30.5 40L10 40Z"),
        (
            "EllipseLabels",
            [(10, 20), (30, 40)],
            "M10 30A10 10 0 1 1 30 30A10 10 0 1 1 10 30Z",
        ),
        ("KeyPointLabels", [(10, 33.333), (10, 33.333)], "M10 33.333h0"),
        ("PolygonLabels", region(SQUARE)[:2], "M25 25L75 25L75 75L25 75Z"),
    ],
)
def test_regions_are_drawn_as_svg(tag: str, region: list[Any], path: str) -> None:
    config = f'<View><Image name="i" value="$i"/><{tag} name="c" toName="i"><Label value="A"/>'
    (control,) = parse_label_config(f"{config}</{tag}></View>").regions
    assert control.path(*region) == path
