"""Sentences of Wikipedia with named entities: a pool to upload, and a held-out rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np

from .label_studio import LabelStudioServer

__all__ = ["LABELS", "LABEL_CONFIG", "Sentences", "Span", "create_project", "load", "marks"]

LABELS = ("PER", "ORG", "LOC", "MISC")
NAMES = {"PER": "person", "ORG": "organization", "LOC": "location", "MISC": "other name"}
LABEL_CONFIG = (
    '<View><Labels name="label" toName="text">'
    + "".join(
        f'<Label value="{label}" hint="{NAMES[label]}" hotkey="{key}"/>'
        for key, label in enumerate(LABELS, 1)
    )
    + '</Labels><Text name="text" value="$text"/></View>'
)

Span = tuple[int, int, str]  # first code point, the one behind the last, label


@dataclass(frozen=True)
class Sentences:
    """Texts by their index in the data set, the truth, and who is in which part.

    Attributes
    ----------
    texts : tuple of str
    spans : tuple of tuples of Span
        The entities of each.
    pool, held_out : ndarray of int, shape (n,)
        Indices of the two parts, in the order in which the pool is uploaded.
    """

    texts: tuple[str, ...]
    spans: tuple[tuple[Span, ...], ...]
    pool: np.ndarray
    held_out: np.ndarray


def load(pool: int = 600, seed: int = 0) -> Sentences:
    """Split the sentences at random into ``pool`` to label and a held-out rest.

    The order of the pool is random too: the data set comes article by article.
    """
    content = files(__package__).joinpath("data", "wikigold.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in content.splitlines()]
    order = np.random.default_rng(seed).permutation(len(rows))
    return Sentences(
        texts=tuple(text for text, _ in rows),
        spans=tuple(tuple(map(_span, marked.split())) for _, marked in rows),
        pool=order[:pool],
        held_out=order[pool:],
    )


def create_project(server: LabelStudioServer, title: str) -> int:
    """Create an empty project for entities and return its id."""
    body = {"title": title, "label_config": LABEL_CONFIG}
    return int(server.api("POST", "/api/projects/", body)["id"])


def marks(text: str, spans: Sequence[Span]) -> list[dict[str, Any]]:
    """Return the result of an annotation that marks ``spans``."""
    return [
        {
            "from_name": "label",
            "to_name": "text",
            "type": "labels",
            "value": {"start": start, "end": end, "text": text[start:end], "labels": [label]},
        }
        for start, end, label in spans
    ]


def spans_of(result: Sequence[Mapping[str, Any]]) -> set[Span]:
    """Return the spans that a result marks, the reverse of `marks`."""
    values = [one["value"] for one in result]
    return {(one["start"], one["end"], one["labels"][0]) for one in values}


def _span(text: str) -> Span:
    start, end, label = text.split(":")
    return int(start), int(end), label
