"""The head of an own model that finds regions: the probabilities that it gives to parts decide.

They stand among the features of a part as scaled log-probabilities of its classes (of independent
classes as logits): float16 keeps these well, and beside the states of a part they weigh next to
nothing where tasks are compared by their features.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from active_learn.heads import PartTagger, Tagging, taggings
from active_learn.ragged import RaggedArray
from scipy.special import expit, softmax

from .classes import PartClass

__all__ = ["LEAST_LOG", "SCALE", "OwnRegionHead"]

FloatArray = npt.NDArray[np.float32]

SCALE = np.float32(2.0**-10)  # of log-probabilities and logits among the features
LEAST_LOG = -40.0  # of a class that has no probability


class OwnRegionHead(PartTagger):
    """Answers by the probabilities of classes that stand among the features of parts.

    Parameters
    ----------
    labels_offered : tuple of str
        The labels of the config, in its order.
    classes : sequence of PartClass
        What each output of the model stands for.
    n_states : int
        Features of a part before those scores.
    n_features : int
    version : str
    independent : bool
        Whether the scores are logits of independent classes, none of which may hold.
    single : bool
        Whether each part with a label is a region of its own.
    """

    def __init__(
        self,
        labels_offered: tuple[str, ...],
        classes: Sequence[PartClass],
        n_states: int,
        n_features: int,
        version: str,
        *,
        independent: bool = False,
        single: bool = False,
    ) -> None:
        self.labels_offered, self.n_features = labels_offered, n_features
        self._version, self._independent, self._single = version, independent, single
        self._columns = slice(n_states, n_states + len(classes))
        self._tags = np.array([one.tag for one in classes], np.int64)
        self._begins = np.array([one.begins for one in classes], bool)
        self._merge = np.zeros((len(classes), len(labels_offered) + 1), np.float32)
        self._merge[np.arange(len(classes)), self._tags] = 1

    @property
    def version(self) -> str:
        return self._version

    def flat_probabilities(self, ragged: RaggedArray) -> FloatArray:
        return self._merged(self._scores(ragged))

    def tag_parts(self, ragged: RaggedArray) -> tuple[FloatArray, list[Tagging]]:
        scores = self._scores(ragged)
        flat = self._merged(scores)
        if not len(scores):
            return flat, taggings(np.empty(0, np.int64), ragged.offsets, flat)
        best = scores.argmax(axis=1)
        tags, begins = self._tags[best], self._begins[best] | self._single
        tags = np.where(scores.any(axis=1), tags, 0)
        shown = flat
        if self._independent:
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
        if not self._independent:
            merged: FloatArray = softmax(scores, axis=1) @ self._merge
            # Log-probabilities are not all 0: the model has seen nothing of such a word.
            merged[~scores.any(axis=1)] = np.eye(1, merged.shape[1])
            return merged
        shares = softmax(np.pad(scores, ((0, 0), (1, 0))), axis=1)
        found: FloatArray = shares[:, 1:] @ self._merge
        found[:, 0] += shares[:, 0]
        return found
