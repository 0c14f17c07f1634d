"""The kinds of parts that there are, what makes them, and the words of a text as one of them.

A kind is one class here or in a file of its own, and one line in `KINDS`. The parts that an own
model makes are in `own_models`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from ...labeling.config import Field
from ...labeling.exact_text import ExactText
from ...labeling.regions import ScoredRegion
from ...settings import Settings
from ..encoders import configured_encoders
from .boxes import BOXES, Boxes
from .cells import CellEncoder, Cells
from .intervals import interval_tags
from .part_kind import PartEncoder, PartKind, Tags
from .parts import Places, TaskParts
from .patches import PatchEncoder
from .windows import SeriesWindowEncoder, SeriesWindows, SoundWindowEncoder, SoundWindows
from .words import EMBEDDED, SHAPED, find_words, word_features

__all__ = ["KINDS", "WordEncoder", "Words", "kind_of", "parts_of_field"]

MOST_WORDS = 5000  # of a text that are read


class Words(PartKind):
    """The words of a text.

    A word is in a region if half of it or more is; a region in which no word is that far has the
    word that it covers most of. Of regions that overlap the shorter one counts.
    """

    sequential = True
    noun = "words"
    metric = "entity F1"
    is_text = True

    def tags(self, regions: Sequence[Sequence[Any]], labels: Sequence[str], places: Places) -> Tags:
        return interval_tags(regions, labels, places)

    def regions(
        self, runs: Iterable[Any], labels: Sequence[str], places: Places
    ) -> list[ScoredRegion]:
        return [
            ScoredRegion(
                int(places[run.start, 0]),
                int(places[run.stop - 1, 1]),
                labels[run.tag - 1],
                run.score,
            )
            for run in runs
        ]


class TextModel(Protocol):
    """What a `WordEncoder` is made of; one that knows words has ``word_states``, too."""

    fingerprint: str


class WordEncoder:
    """The features of words: of a hidden layer of a Hugging Face model, and of their shape.

    Parameters
    ----------
    encoder : TextModel
        An encoder of texts, or an own model; the embedded one knows no words, so they are hashed.
    """

    def __init__(self, encoder: TextModel) -> None:
        self._states = getattr(encoder, "word_states", None)
        of_model = encoder.fingerprint if self._states else "hashed"
        self.fingerprint = f"words2-{of_model}"
        self.n_features = self._states.n_features + SHAPED if self._states else EMBEDDED
        # Of hashed words few are alike: weighted, the rare names that the head doubts are all that
        # a text has, and such texts take people long. The plain mean was better by 1 to 2 points.
        self.by_doubt = self._states is not None

    @property
    def states(self) -> Any:
        """What makes the states of words, of a model; else None."""
        return self._states

    def prepare(self, raw: Any) -> Any:
        return raw

    def encode(self, raws: Sequence[ExactText]) -> list[TaskParts]:
        texts = [one.text.encode("utf-8", "replace").decode() for one in raws]
        places = [find_words(text)[:MOST_WORDS] for text in texts]
        words = [
            [text[start:end] for start, end in found.tolist()]
            for text, found in zip(texts, places, strict=True)
        ]
        features = word_features(words, embedded=self._states is None)
        ends = np.cumsum([len(found) for found in places])[:-1]
        split = np.split(features, ends)
        if self._states:
            states = self._states(texts, places)
            split = [np.concatenate(both, axis=1) for both in zip(states, split, strict=True)]
        return [
            TaskParts(one, raw.places(found))
            for one, raw, found in zip(split, raws, places, strict=True)
        ]


class Source(NamedTuple):
    """What the parts of a kind of field are, and what makes them by the setting ``encoder``."""

    kind: PartKind
    encoder: Callable[[Settings], PartEncoder]


def word_encoder(settings: Settings) -> WordEncoder:
    return WordEncoder(configured_encoders(settings, {"text"})["text"])


def cell_encoder(settings: Settings) -> PartEncoder:
    encoder = configured_encoders(settings, {"image"})["image"]
    patches = getattr(encoder, "patch_states", None)  # the embedded encoder has none
    return PatchEncoder(patches, encoder.fingerprint) if patches else CellEncoder()


#: By the kind of the field that is labeled.
KINDS = {
    "text": Source(Words(), word_encoder),
    "image": Source(Cells(), cell_encoder),
    "audio": Source(SoundWindows(), lambda _: SoundWindowEncoder()),
    "time series": Source(SeriesWindows(), lambda _: SeriesWindowEncoder()),
}


def parts_of_field(field: Field, settings: Settings) -> tuple[PartKind, PartEncoder]:
    """Return the kind of the parts of a field that a control of regions labels, and their encoder.

    Raises
    ------
    SettingsError, MissingOptionalDependencyError
        When the setting ``encoder`` names what cannot be used.
    """
    kind, encoder = KINDS[field.kind]
    return kind, encoder(settings)


def kind_of(field: Field, fingerprint: str) -> PartKind:
    """Return the kind of the parts of a field that are cached under a fingerprint.

    Those of a detector are no cells.
    """
    return Boxes() if fingerprint.startswith(BOXES) else KINDS[field.kind].kind
