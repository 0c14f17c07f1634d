"""The head of an own model that finds regions: the probabilities that it gives to parts decide.

They stand among the features of a part as scaled log-probabilities of its classes (of independent
classes as logits): float16 keeps these well, and beside the states of a part they weigh next to
nothing where tasks are compared by their features.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from active_learn.heads import PartTagger, Tagging, taggings
from active_learn.ragged import RaggedArray
from scipy.special import expit, softmax

from ...state.json_files import read_record, write_record
from .classes import PartClass

__all__ = ["LEAST_LOG", "SCALE", "OwnRegionHead", "OwnRegions", "read_own_head", "write_own_head"]

FloatArray = npt.NDArray[np.float32]

SCALE = np.float32(2.0**-10)  # of log-probabilities and logits among the features
LEAST_LOG = -40.0  # of a class that has no probability
FILE = "own-regions.json"


@dataclass(frozen=True)
class OwnRegions:
    """How the classes of a model are read out of the features of parts.

    It is kept beside the trained heads, so that the proposals can be shown without the model.

    Attributes
    ----------
    version : str
        Name under which its answers are stored.
    control : str
        Name of the control that it answers for.
    encoder : str
        Fingerprint of the parts.
    labels_offered : tuple of str
        The labels of the config, in its order.
    classes : tuple of PartClass
        What each output of the model stands for.
    n_states : int
        Features of a part before those scores.
    n_features : int
    independent : bool
        Whether the scores are logits of independent classes, none of which may hold.
    single : bool
        Whether each part with a label is a region of its own.
    """

    version: str
    control: str
    encoder: str
    labels_offered: tuple[str, ...]
    classes: tuple[PartClass, ...]
    n_states: int
    n_features: int
    independent: bool = False
    single: bool = False


class OwnRegionHead(PartTagger):
    """Answers by the probabilities of classes that stand among the features of parts."""

    def __init__(self, of: OwnRegions) -> None:
        self.of = of
        self.labels_offered, self.n_features = of.labels_offered, of.n_features
        self._columns = slice(of.n_states, of.n_states + len(of.classes))
        self._tags = np.array([one.tag for one in of.classes], np.int64)
        self._begins = np.array([one.begins for one in of.classes], bool)
        self._merge = np.zeros((len(of.classes), len(of.labels_offered) + 1), np.float32)
        self._merge[np.arange(len(of.classes)), self._tags] = 1

    @property
    def version(self) -> str:
        return self.of.version

    def flat_probabilities(self, ragged: RaggedArray) -> FloatArray:
        return self._merged(self._scores(ragged))

    def tag_parts(self, ragged: RaggedArray) -> tuple[FloatArray, list[Tagging]]:
        scores = self._scores(ragged)
        flat = self._merged(scores)
        if not len(scores):
            return flat, taggings(np.empty(0, np.int64), ragged.offsets, flat)
        best = scores.argmax(axis=1)
        tags, begins = self._tags[best], self._begins[best] | self.of.single
        tags = np.where(scores.any(axis=1), tags, 0)
        shown = flat
        if self.of.independent:
            tags = np.where(scores.max(axis=1) > 0, tags, 0)
            shown = np.stack(
                [
                    expit(scores[:, self._tags == tag]).max(axis=1, initial=0)
                    for tag in range(flat.shape[1])
                ],
                axis=1,
            )
        return flat, taggings(tags, ragged.offsets, shown, begins)

    def _scores(self, ragged: RaggedArray) -> FloatArray:
        """Return the scores of the model's classes, (P, K)."""
        return np.asarray(ragged.rows[:, self._columns], np.float32) / SCALE

    def _merged(self, scores: FloatArray) -> FloatArray:
        """Return the probabilities of the labels, (P, L + 1).

        Of independent classes they are those where at most one class holds.
        """
        if not self.of.independent:
            merged: FloatArray = softmax(scores, axis=1) @ self._merge
            # Log-probabilities are not all 0: the model has seen nothing of such a word.
            merged[~scores.any(axis=1)] = np.eye(1, merged.shape[1])
            return merged
        shares = softmax(np.pad(scores, ((0, 0), (1, 0))), axis=1)
        found: FloatArray = shares[:, 1:] @ self._merge
        found[:, 0] += shares[:, 0]
        return found


def write_own_head(folder: Path, head: OwnRegionHead) -> None:
    """Keep in the folder of the trained heads how an own model's answers are read."""
    write_record(folder / FILE, head.of)


def read_own_head(folder: Path) -> OwnRegionHead | None:
    """Return what reads the answers of the own model of the last round that had one."""
    found = read_record(folder / FILE, OwnRegions)
    return None if found is None else OwnRegionHead(found)
