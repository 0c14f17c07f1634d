"""The cells of images: their grid and features, their classes by boxes, and boxes by classes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from active_learn.heads import Run
from active_learn_backend.errors import ContentError
from active_learn_backend.labeling.config import parse_label_config
from active_learn_backend.labeling.masks import rasterise, shape_of
from active_learn_backend.labeling.regions import count_matches, merge_regions
from active_learn_backend.learning.regions.cell_features import cell_features, grid_of
from active_learn_backend.learning.regions.cells import CellEncoder, Cells, grid_in, size_in
from active_learn_backend.learning.regions.part_kind import PartKind
from PIL import Image

LABELS = ("cat", "dog")
KIND = Cells()


def places(rows: int, columns: int) -> np.ndarray:
    return np.stack(np.divmod(np.arange(rows * columns), columns), axis=1)


def box(left: float, top: float, right: float, bottom: float, label: str = "cat") -> list[Any]:
    return [[left, top], [right, bottom], label]


def tags_of(rows: int, columns: int, *regions: list[Any]) -> list[list[int]]:
    return KIND.tags(regions, LABELS, places(rows, columns)).reshape(rows, columns).tolist()


def runs(tags: list[list[int]], score: float = 0.5) -> list[Run]:
    flat = np.ravel(tags).tolist()
    return [Run(at, at + 1, tag, score) for at, tag in enumerate(flat) if tag]


def png(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG" if options else "PNG", **options)
    return file.getvalue()


def test_a_cell_has_the_class_of_a_box_that_covers_half_of_it() -> None:
    assert tags_of(2, 4, box(0, 0, 37.5, 50)) == [[1, 1, 0, 0], [0, 0, 0, 0]]
    assert tags_of(2, 4, box(0, 0, 35, 50)) == [
        [1, -1, 0, 0],
        [0, 0, 0, 0],
    ]  # from a fifth: unclear
    assert tags_of(2, 4, box(0, 0, 28, 50, "dog")) == [[2, 0, 0, 0], [0, 0, 0, 0]]


def test_a_box_smaller_than_a_cell_has_the_one_that_it_covers_most_of() -> None:
    assert tags_of(2, 2, box(60, 60, 65, 65, "dog")) == [[0, 0], [0, 2]]


def test_of_boxes_that_overlap_the_smaller_one_counts() -> None:
    both = box(0, 0, 100, 100), box(0, 0, 50, 50, "dog")
    assert tags_of(2, 2, *both) == tags_of(2, 2, *reversed(both)) == [[2, 1], [1, 1]]


def test_a_label_that_the_config_does_not_offer_is_left_out() -> None:
    assert tags_of(1, 2, box(0, 0, 50, 100, "bird")) == [[0, 0]]
    assert KIND.tags([], LABELS, places(0, 1)).tolist() == []


def test_cells_of_a_class_that_touch_are_one_box() -> None:
    tags = [[1, 1, 0, 2], [0, 1, 0, 0], [0, 0, 0, 1]]
    found = KIND.regions(runs(tags), LABELS, places(3, 4))
    assert [(*one[:2], one.label) for one in found] == [
        ((0, 0), (50, pytest.approx(200 / 3)), "cat"),
        ((75, 0), (100, pytest.approx(100 / 3)), "dog"),
        ((75, pytest.approx(200 / 3)), (100, 100), "cat"),
    ]
    assert {one.score for one in found} == {0.5}
    assert KIND.regions([], LABELS, places(3, 4)) == []


def test_boxes_that_fill_cells_come_back_as_they_were() -> None:
    regions = [box(0, 0, 25, 50), box(50, 50, 100, 100, "dog")]
    tags = tags_of(4, 8, *regions)
    assert count_matches(regions, KIND.regions(runs(tags), LABELS, places(4, 8))) == 2


def for_config(tag: str) -> PartKind:
    config = f'<View><Image name="i" value="$i"/><{tag} name="c" toName="i"><Label value="cat"/>'
    (control,) = parse_label_config(f"{config}<Label value='dog'/></{tag}></View>").regions
    return KIND.for_control(control)


def test_a_cell_has_the_class_of_a_polygon_that_covers_half_of_it() -> None:
    kind = for_config("PolygonLabels")
    shapes = [
        [*shape_of(rasterise(points)), name]  # type: ignore[misc]
        for points, name in (
            ([(0, 0), (50, 0), (0, 100)], "cat"),
            ([(60, 60), (65, 60), (65, 65), (60, 65)], "dog"),
        )
    ]
    tags = kind.tags(shapes, LABELS, places(4, 4)).reshape(4, 4).tolist()
    assert tags == [[1, 1, 0, 0], [1, -1, 0, 0], [1, 0, 2, 0], [-1, 0, 0, 0]]
    assert kind.tags(shapes, LABELS, places(0, 1)).tolist() == []


@pytest.mark.parametrize("grid", [(16, 16), (11, 16), (16, 3)])
def test_shapes_of_cells_come_back_as_they_were(grid: tuple[int, int]) -> None:
    kind = for_config("PolygonLabels")
    tags = np.zeros(grid, int)
    tags[1:3, 0], tags[2, 0:3] = 1, 1
    tags[8:, 1:] = 2
    found = kind.regions(runs(tags.tolist()), LABELS, places(*grid))
    assert [(one.label, one.score) for one in found] == [("cat", 0.5), ("dog", 0.5)]
    assert np.array_equal(kind.tags([one[:3] for one in found], LABELS, places(*grid)),
                          tags.ravel())  # fmt: skip


def test_a_point_is_in_the_cell_that_holds_it() -> None:
    kind = for_config("KeyPointLabels")
    points = [[[100.0, 0.0], [100.0, 0.0], "dog"], [[26.0, 99.0], [26.0, 99.0], "cat"]]
    tags = kind.tags(points, LABELS, places(4, 4)).reshape(4, 4).tolist()
    assert tags == [[0, 0, -1, 2], [0, 0, -1, -1], [-1, -1, -1, 0], [-1, 1, -1, 0]]


def test_cells_that_touch_are_one_point_their_mean_by_score() -> None:
    kind = for_config("KeyPointLabels")
    likely = [[0.3, 0, 0, 0.5], [0, 0.9, 0, 0], [0, 0, 0, 0], [0.7, 0, 0, 0]]
    at = [(number, score) for number, score in enumerate(np.ravel(likely).tolist()) if score]
    found = kind.regions([Run(one, one + 1, 1, score) for one, score in at], LABELS, places(4, 4))
    assert [(one.start, one.score) for one in found] == [
        (pytest.approx((12.5, 87.5)), 0.7),
        (pytest.approx((31.25, 31.25)), pytest.approx(0.6)),
        (pytest.approx((87.5, 12.5)), 0.5),
    ]
    assert all(one.start == one.end and one.label == "cat" for one in found)


def test_boxes_match_by_half_of_their_union_and_once() -> None:
    one, near, far = box(0, 0, 10, 10), box(0, 0, 10, 8), box(0, 0, 4, 10)
    assert count_matches([one], [near, [*near[:2], "dog"]]) == 1
    assert count_matches([one], [far]) == 0
    assert count_matches([one, near], [one, near]) == 2
    assert count_matches([one], [one, near]) == 1
    assert count_matches([], [one]) == count_matches([one], []) == 0
    assert merge_regions([[one], [near], [near]]) == [near]
    assert merge_regions([[one], [far], []]) == []


def test_cells_are_about_square() -> None:
    assert grid_of(640, 640) == (16, 16)
    assert grid_of(640, 320) == (8, 16)
    assert grid_of(10, 1000) == (16, 1)


def test_an_image_is_turned_as_it_is_shown() -> None:
    """Right half red; EXIF 6 turns it by a quarter, so that the lower half is red."""
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:, 32:, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = CellEncoder().prepare(png(Image.fromarray(pixels), exif=exif, quality=95))
    assert grid_in(turned.places) == (16, 8)
    assert size_in(turned.places) == (32, 64)
    upright = Image.fromarray(np.rot90(pixels, -1).copy())
    assert np.abs(turned.features - cell_features(upright)).max() < 0.2
    red = turned.features[:, 1].reshape(16, 8)  # red less green
    assert red[12:].min() > red[:4].max() + 1


def test_features_are_finite_and_the_same_each_time() -> None:
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (5, 300), (200, 150)):
        image = Image.fromarray(rng.integers(0, 256, (*shape, 3)).astype(np.uint8))
        one, two = (CellEncoder().prepare(png(image)) for _ in range(2))
        assert np.isfinite(one.features).all()
        assert one.features.shape == (len(one.places), CellEncoder.n_features)
        assert np.array_equal(one.features, two.features)


def test_what_is_no_image_is_an_error_of_its_own() -> None:
    with pytest.raises(ContentError, match="no image"):
        CellEncoder().prepare(b"not an image")
