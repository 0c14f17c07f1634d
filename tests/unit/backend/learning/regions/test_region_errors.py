"""Regions that look wrong: with another label, where nothing is, and missing ones."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from active_learn.heads import TaggingHead, fit_tagging_head
from active_learn_backend.labeling.masks import rasterise, shape_of
from active_learn_backend.labeling.regions import Region, sorted_regions, touch
from active_learn_backend.learning.quality.region_errors import (
    NOT_MARKED,
    NOTHING,
    Answered,
    _contradicted,
    find_region_errors,
    unchanged_region_errors,
)
from active_learn_backend.learning.regions.cells import CELLS
from active_learn_backend.learning.regions.kinds import Words
from active_learn_backend.learning.regions.part_kind import PartKind
from active_learn_backend.learning.regions.parts import TaskParts, in_memory
from active_learn_backend.learning.regions.windows import SoundWindows, places_between
from active_learn_backend.learning.selection.snapshot import ControlSnapshot
from active_learn_backend.state.schema import TaskRow
from active_learn_backend.state.task_table import TaskTable

NAMES = ("cat", "dog")
SIDE, TASKS = 10, 40  # cells of a side or intervals of ten; tasks

KINDS: dict[str, PartKind] = {
    "boxes": CELLS["box"],
    "masks": CELLS["mask"],
    "points": CELLS["point"],
    "segments": SoundWindows(),
    "spans": Words(),
}


def region(kind: str, place: int, label: str) -> list[Any]:
    """Return a region in one of three places that lie apart."""
    low, high = 10 + 30 * place, 30 + 30 * place
    if kind == "spans":
        return [low, high, label]
    if kind == "segments":
        return [float(low), float(high), label]
    if kind == "points":
        return [[low + 5.0] * 2, [low + 5.0] * 2, label]
    if kind == "boxes":
        return [[float(low)] * 2, [float(high)] * 2, label]
    found = shape_of(rasterise([(low, low), (high, low), (high, high), (low, high)]))
    assert found is not None
    return [list(found[0]), list(found[1]), label]


def places_of(kind: str) -> np.ndarray:
    if kind in ("spans", "segments"):
        edges = np.arange(0, 101, 10)
        whole = np.stack([edges[:-1], edges[1:]], axis=1)
        return whole if kind == "spans" else places_between(edges.astype(float))
    return np.stack(np.divmod(np.arange(SIDE**2), SIDE), axis=1)


def draw(kind: str) -> tuple[list[list[list[Any]]], list[TaskParts]]:
    """Return the truth of tasks, and parts whose features tell it through noise."""
    rng = np.random.default_rng(1)
    places, truth, parts = places_of(kind), [], []
    for _ in range(TASKS):
        there = np.flatnonzero(rng.random(2) < 0.7)  # nothing is in the third place
        regions = [region(kind, at, str(rng.choice(NAMES))) for at in there.tolist()]
        tags = KINDS[kind].tags(regions, NAMES, places)
        features = np.eye(8)[np.maximum(tags, 0)] + rng.normal(0, 0.1, (len(tags), 8))
        truth.append(sorted_regions(regions))
        parts.append(TaskParts(features.astype(np.float32), places))
    return truth, parts


def snapshot_of(labels: list[Any], parts: list[TaskParts]) -> ControlSnapshot:
    rows = TaskTable.of(
        [
            TaskRow(at, {}, f"{at:032x}", {"mark": label}, skipped=False)
            for at, label in enumerate(labels)
        ]
    )
    none = np.zeros(len(rows), bool)
    return ControlSnapshot(
        rows, in_memory(parts, 8), audit=none, outside=none, project_id=1, from_name="mark"
    )


def head_of(kind: PartKind, snapshot: ControlSnapshot) -> TaggingHead:
    parts = snapshot.embeddings[snapshot.training]
    tags = [
        kind.tags(label, NAMES, parts.places_of(at))
        for at, label in enumerate(snapshot.labels(snapshot.training))
    ]
    features = [parts.rows[a:b] for a, b in pairwise(parts.offsets)]
    head = fit_tagging_head(NAMES, features, tags, round=1, sequential=kind.sequential)
    assert head is not None
    return head


@pytest.mark.parametrize("name", KINDS)
def test_a_wrong_a_missing_and_a_needless_region_are_found_and_nothing_else(name: str) -> None:
    kind = KINDS[name]
    truth, parts = draw(name)
    labels = [list(one) for one in truth]
    missing, wrong, needless = (at for at in range(10, 13))
    full = [region(name, 0, "cat"), region(name, 1, "dog")]
    tags = np.maximum(kind.tags(full, NAMES, parts[0].places), 0)
    for at in (missing, wrong, needless):
        parts[at] = TaskParts(np.eye(8, dtype=np.float32)[tags], parts[at].places)
    labels[missing] = [full[0]]
    labels[wrong] = [full[0], [*full[1][:2], "cat"]]
    labels[needless] = [*full, region(name, 2, "dog")]
    snapshot = snapshot_of(labels, parts)
    head = head_of(kind, snapshot)
    found = find_region_errors(head, kind, snapshot, lambda some: [str(at) for at, _ in some])
    assert {(one.task_id, one.label, one.suggested) for one in found} == {
        (missing, f"{missing}: {NOT_MARKED}", "dog"),
        (wrong, f"{wrong}: cat", "dog"),
        (needless, f"{needless}: dog", NOTHING),
    }
    assert [one.confidence for one in found] == sorted([one.confidence for one in found])[::-1]
    now = dict(enumerate(labels))
    assert unchanged_region_errors(found, now) == found
    assert (
        unchanged_region_errors(found, now | dict.fromkeys((missing, wrong, needless), full)) == []
    )


def test_few_labels_contradict_nothing() -> None:
    truth, parts = draw("boxes")
    snapshot = snapshot_of(truth[:19], parts[:19])
    head = head_of(CELLS["box"], snapshot)
    assert find_region_errors(head, CELLS["box"], snapshot, lambda some: []) == []


def test_a_region_that_is_found_with_one_of_its_labels_does_not_contradict_the_other() -> None:
    """Of three labels in one place, heads learn two."""
    given = [Region(0, 4, label) for label in ("person", "place", "group")]
    found = [(0.99, Region(0, 4, "person")), (0.97, Region(0, 4, "place"))]
    task = Answered(1, given, [1.0] * 3, found)
    assert _contradicted(task, dict.fromkeys(("person", "place", "group"), 0.0)) == []
    wrong = Answered(1, given[:1], [1.0], found[1:])
    assert _contradicted(wrong, {"person": 0.0}) == [(given[0], "place", 0.97)]


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        (([0.0, 0.0], [10.0, 10.0]), ([9.5, 0.0], [20.0, 10.0]), False),  # a rough border
        (([0.0, 0.0], [10.0, 10.0]), ([8.0, 0.0], [20.0, 10.0]), True),
        (([0.0, 0.0], [100.0, 100.0]), ([50.0, 50.0], [52.0, 52.0]), True),  # the one in the other
        ((5, 9), (8, 30), True),
        ((5, 8), (8, 30), False),
        ((5.0, 8.0), (6.0, 6.0), True),  # a moment
        ((5.0, 8.0), (9.0, 9.0), False),
        (([50.0, 50.0], [50.0, 50.0]), ([55.0, 50.0], [55.0, 50.0]), True),
        (([50.0, 50.0], [50.0, 50.0]), ([70.0, 50.0], [70.0, 50.0]), False),
    ],
)
def test_regions_touch_that_share_more_than_rough_borders(
    first: tuple[Any, Any], second: tuple[Any, Any], together: bool
) -> None:
    one, other = (Region.of([*borders, "cat"]) for borders in (first, second))
    assert touch(one, other) is touch(other, one) is together
