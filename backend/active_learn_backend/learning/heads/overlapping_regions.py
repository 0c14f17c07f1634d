"""Regions that overlap as two layers of tags, in each of which a part has one label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from active_learn.heads import Relation, relation_between

from ...labeling.regions import Region, touch
from ..regions.part_kind import PartKind, Tags
from ..regions.parts import Places

__all__ = ["layered_tags", "learned_relations", "relations_in"]

LEAST_TASKS = 2  # in which regions lie to each other in one way: one may be a slip of the hand
Regions = Sequence[Sequence[Any]]


def learned_relations(labels: Sequence[Regions]) -> tuple[Relation, ...]:
    """Return how regions of different labels overlap in two tasks or more."""
    tasks = Counter(relation for regions in labels for relation in relations_in(regions))
    return tuple(sorted(relation for relation, n in tasks.items() if n >= LEAST_TASKS))


def relations_in(regions: Regions) -> set[Relation]:
    """Return how regions of different labels overlap, each with the one that reaches farthest.

    Regions that cross by no more than the roughness of their borders are apart.
    """
    found: set[Relation] = set()
    farthest: Sequence[Any] | None = None
    for one in sorted(regions, key=lambda one: (one[0], -one[1])):
        if farthest is not None and one[2] != farthest[2]:
            relation = relation_between(farthest, one)
            if relation == "crossing" and not touch(Region.of(farthest), Region.of(one)):
                relation = None
            if relation is not None:
                found.add(relation)
        if farthest is None or one[1] > farthest[1]:
            farthest = one
    return found


def layered_tags(
    kind: PartKind, regions: Regions, labels: Sequence[str], places: Places
) -> tuple[Tags, Tags]:
    """Return the tags of the parts of a task in an outer and in an inner layer.

    In the outer layer that region counts which begins first, of those the longer one, of those on
    the same parts the first label of the config; in the inner layer the last of them.
    """
    if not relations_in(regions):
        tags = kind.tags(regions, labels, places)
        return tags, tags
    known = [one for one in regions if one[2] in labels]
    ordered = sorted(known, key=lambda one: (one[0], -one[1], labels.index(one[2])))
    each = [kind.tags([one], labels, places) for one in ordered]
    return _painted(reversed(each), len(places)), _painted(iter(each), len(places))


def _painted(layers: Iterator[Tags], n: int) -> Tags:
    """Return the tags of regions, those of later ones over those of former ones."""
    tags = np.zeros(n, np.int64)
    for one in layers:
        np.copyto(tags, one, where=one > 0)
    return tags
