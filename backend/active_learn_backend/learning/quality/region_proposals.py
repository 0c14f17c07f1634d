"""The regions that the head proposes for a task, and how many of its parts are unsure.

As with `top_labels` nothing is embedded and no encoder is loaded: it is fast enough for a page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from active_learn.heads import PartTagger

from ...labeling.config import Field
from ...labeling.controls import RegionTag
from ...labeling.exact_text import ExactText, exact_text
from ...labeling.regions import ScoredRegion
from ..heads.region_heads import FoundRegions, find_regions
from ..regions.kinds import kind_of
from ..regions.part_cache import PartCache
from ..regions.part_kind import PartKind

__all__ = ["Piece", "Proposal", "propose"]

UNSURE = 0.5  # doubt from which a part counts as unsure: the two likeliest are that close
NAMED = 3  # unsure words that are named
TOLD = 5  # regions that are named
DRAWN = 30  # regions that are drawn over an image


@dataclass(frozen=True)
class Piece:
    """A piece of a text: within a proposed region with its label, else without."""

    text: str
    label: str = ""
    score: float = 0.0


@dataclass(frozen=True)
class Drawn:
    """A proposed region that is drawn over its image.

    Attributes
    ----------
    path : str
        As SVG, in an image of 100 x 100.
    number : int
        The place of its label in the config.
    """

    path: str
    label: str
    number: int
    score: float


@dataclass(frozen=True)
class Proposal:
    """What the head of a control proposes for a task.

    Attributes
    ----------
    control, field : str
        Names of the control, and of the field that it labels.
    reason : str
        How many parts are unsure, such as ``3 of 41 words unsure: Anna, Oslo``; and the regions
        that are proposed, where they are told and not shown.
    pieces : tuple of Piece
        The beginning of the text.
    drawn : tuple of Drawn
        The regions in the image.
    """

    control: str
    field: str
    reason: str
    pieces: tuple[Piece, ...]
    drawn: tuple[Drawn, ...] = ()


def propose(
    folder: Path,
    head: PartTagger,
    encoder: str,
    control: RegionTag,
    field: Field,
    contents: Mapping[str, Mapping[str, Any]],
    most: int,
) -> dict[str, Proposal]:
    """Return what a head proposes for some tasks.

    Parameters
    ----------
    folder : Path
        The project's, with its ``embeddings``.
    head : PartTagger
        A trained one, or that of an own model.
    encoder : str
        Fingerprint of the parts that it reads.
    contents : mapping
        What the encoder reads of each task, by the digest of it.
    most : int
        Characters of a text that are shown.

    Returns
    -------
    dict
        By digest, of the tasks whose parts are cached.
    """
    cached = folder / "embeddings" / encoder
    keys = list(contents)
    if not keys or not cached.is_dir():
        return {}
    kind = kind_of(field, encoder).for_control(control)
    cache = PartCache(cached, head.n_features)
    missing = set(cache.missing(keys))
    known = [key for at, key in enumerate(keys) if at not in missing]
    tasks = cache.tasks(known)
    places = tasks[np.arange(len(tasks))]
    texts = {key: exact_text(contents[key].get(field.name), field.markup) for key in known}
    return {
        key: Proposal(
            control.from_name,
            field.name,
            _reason(kind, found, texts[key], places.places_of(at)) + _named(control, found),
            _pieces(texts[key], found.regions, most) if kind.is_text else (),
            _drawn(control, found),
        )
        for at, (key, found) in enumerate(zip(known, find_regions(head, kind, tasks), strict=True))
    }


def _reason(kind: PartKind, found: FoundRegions, text: ExactText, places: Any) -> str:
    unsure = np.flatnonzero(found.doubts >= UNSURE)
    said = f"{len(unsure)} of {len(found.doubts)} {kind.noun} unsure"
    if not kind.is_text:
        return said
    order = unsure[np.argsort(-found.doubts[unsure], kind="stable")][:NAMED]
    words = dict.fromkeys(text.between(start, end) for start, end in places[order].tolist())
    return f"{said}: {', '.join(words)}" if words else said


def _named(control: RegionTag, found: FoundRegions) -> str:
    """Return in words which regions are proposed, the first of them; empty where they are shown."""
    regions = []
    for one in found.regions:
        if where := control.named(one.start, one.end):
            drawn = control.path(one.start, one.end)
            parts = (one.label, "" if drawn else where, f"({100 * one.score:.0f} %)")
            regions.append(" ".join(part for part in parts if part))
    more = f" and {len(regions) - TOLD} more" if len(regions) > TOLD else ""
    return f"; proposed: {', '.join(regions[:TOLD])}{more}" if regions else ""


def _drawn(control: RegionTag, found: FoundRegions) -> tuple[Drawn, ...]:
    """Return the regions in an image, the surest of them."""
    surest = sorted(found.regions, key=lambda one: -one.score)[:DRAWN]
    return tuple(
        Drawn(path, one.label, control.labels.index(one.label), one.score)
        for one in surest
        if (path := control.path(one.start, one.end))
    )


def _pieces(exact: ExactText, regions: Sequence[ScoredRegion], most: int) -> tuple[Piece, ...]:
    """Return the beginning of a text, cut at the borders of its regions.

    What lies in several regions has the labels of all of them, those of the longest first.
    """
    text = exact.text
    places = [(exact.index(one.start), exact.index(one.end), one) for one in regions]
    places = [one for one in places if one[0] < most]
    end = max([most, *(stop for _, stop, _ in places)])
    borders = sorted({0, min(end, len(text)), *(at for one in places for at in one[:2])})
    pieces = []
    for start, stop in pairwise(borders):
        over = [one for one in places if one[0] <= start and stop <= one[1]]
        over.sort(key=lambda one: one[0] - one[1])
        names = " + ".join(one.label for *_, one in over)
        score = min((one.score for *_, one in over), default=0.0)
        pieces.append(Piece(text[start:stop], names, score))
    if len(text) > end:
        pieces.append(Piece("\u2026"))
    return tuple(pieces)
