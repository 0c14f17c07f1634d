"""Tagging: a class for each part of a task (words, image cells, windows), in runs of one class.

The parts are classified one by one, by the multinomial logistic regression of the other heads;
class 0 is "outside", in no region. Where the parts are a sequence, counted transitions of labels
correct the tags when they are decoded. How strongly is chosen by cross-validation over tasks: they
are worth much where regions are frequent or long, and cost a little where they are rare.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import pairwise
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator
from threadpoolctl import threadpool_limits

from ..errors import DataError
from ..ragged import RaggedArray
from .base import FloatArray, checked_weights
from .files import head_name
from .hyperparameters import probabilities
from .metadata import HeadConfig
from .transitions import Counts, Tags, best_tags, runs_of

__all__ = ["OUTSIDE", "PartTagger", "Run", "Tagging", "TaggingHead", "TaggingMetadata", "taggings"]

#: The class of the parts that are in no region.
OUTSIDE = ""

DEFAULT_INVERSE_PENALTY = 30.0  # in units of 1 / (mean squared distance from the mean)
DEFAULT_STRENGTH = 0.3
BLOCK_PARTS = 2**16


class Run(NamedTuple):
    """Consecutive parts of one class.

    Attributes
    ----------
    start, stop : int
        The first part, and the one behind the last, counted in the task.
    tag : int
        Its label, counted from 1 in the order of the config.
    score : float
        Mean probability of the class over the parts.
    """

    start: int
    stop: int
    tag: int
    score: float


class Tagging(NamedTuple):
    """The answer for one task: a tag for each part, 0 outside, and the runs of the others."""

    tags: Tags
    runs: list[Run]


class TaggingMetadata(BaseModel):
    """What describes a tagging head beside its weights; saved as JSON with them.

    Attributes
    ----------
    problem_type : 'tagging'
    config : HeadConfig
    classes : tuple of str
        The class of each output, those seen so far: perhaps ``OUTSIDE``, then labels.
    starts, pairs : tuples of int
        How often a sequence started with a class, and a class followed another.
    inverse_penalty : float
        C of `LogisticProblem.solve`.
    strength : float
        Of the transitions, 0 for parts that are no sequence.
    n_labels : int
        Tasks that penalty and strength were chosen on; 0 for the defaults.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    problem_type: Literal["tagging"] = "tagging"
    config: HeadConfig
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    starts: tuple[Annotated[int, Field(ge=0)], ...]
    pairs: tuple[tuple[Annotated[int, Field(ge=0)], ...], ...]
    inverse_penalty: Annotated[float, Field(gt=0)] = DEFAULT_INVERSE_PENALTY
    strength: Annotated[float, Field(ge=0, le=1)] = DEFAULT_STRENGTH
    n_labels: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _check_classes(self) -> Self:
        known = {OUTSIDE, *self.config.labels_offered}
        n = len(self.classes)
        if len(set(self.classes)) != n or not known.issuperset(self.classes):
            raise ValueError("its classes do not fit the labels of the config")
        if [len(self.starts), *map(len, self.pairs)] != [n] * (n + 1):
            raise ValueError("its transitions do not fit its classes")
        return self


class PartTagger(ABC):
    """What says of each part of a task which label it has, if any.

    Attributes
    ----------
    labels_offered : tuple of str
        The labels of the config, in its order.
    n_features : int
        Length of the features of a part.
    """

    labels_offered: tuple[str, ...]
    n_features: int

    @property
    @abstractmethod
    def version(self) -> str:
        """Name under which live answers are stored."""

    @abstractmethod
    def flat_probabilities(self, ragged: RaggedArray) -> FloatArray:
        """Return the probabilities of all parts, one task after the other, (P, L + 1)."""

    @abstractmethod
    def tag_parts(self, ragged: RaggedArray) -> tuple[FloatArray, list[Tagging]]:
        """Return the probabilities of all parts (P, L + 1), and the answer for each task."""

    def probabilities(self, parts: Any) -> list[FloatArray]:
        """Return the probabilities of the classes of the parts of each task.

        Parameters
        ----------
        parts : list of arrays of shape (n_i, d), or RaggedArray

        Returns
        -------
        list of arrays of shape (n_i, L + 1)
            Column 0 is "outside", column k the k-th label of the config; 0 for a label not seen.
        """
        ragged = RaggedArray.of(parts)
        return ragged.split(self.flat_probabilities(ragged))

    def decode(self, parts: Any) -> list[Tagging]:
        """Return the best tags of each task and their runs.

        Parameters
        ----------
        parts : list of arrays of shape (n_i, d), or RaggedArray
        """
        return self.tag_parts(RaggedArray.of(parts))[1]


class TaggingHead(PartTagger):
    """A softmax over "outside" and the labels for each part of a task.

    Parameters
    ----------
    metadata : TaggingMetadata
    weight : array of shape (K, d), float32
        One row for each class seen so far.
    bias : array of shape (K,), float32
    round : int

    Raises
    ------
    DataError
        When shapes do not fit each other, or a number is not finite.
    """

    problem_type: Literal["tagging"] = "tagging"

    def __init__(
        self, metadata: TaggingMetadata, weight: FloatArray, bias: FloatArray, round: int
    ) -> None:
        self.metadata, self.round = metadata, round
        self.labels_offered = metadata.config.labels_offered
        self.classes = metadata.classes
        self.weight, self.bias = checked_weights(weight, bias, len(self.classes))
        self.n_features = int(self.weight.shape[1])
        # The tag of each output: 0 outside, else the place of the label in the config from 1.
        places = {OUTSIDE: 0} | {name: at for at, name in enumerate(self.labels_offered, 1)}
        self._tags = np.array([places[name] for name in self.classes], np.int64)
        counts = Counts(np.array(metadata.starts), np.array(metadata.pairs))
        self._transitions = counts.transitions()

    @property
    def version(self) -> str:
        """Name under which live answers are stored."""
        return head_name(self.round)

    def reads(self, encoder: str, n_features: int) -> bool:
        """Return whether the head was trained on parts of this encoder."""
        return (self.metadata.config.encoder, self.n_features) == (encoder, n_features)

    def without_weights(self) -> TaggingHead:
        """Return the head with weights of zero: how it is trained, and nothing of what it knows."""
        zeros = np.zeros_like(self.weight), np.zeros_like(self.bias)
        return TaggingHead(self.metadata, *zeros, self.round)

    def flat_probabilities(self, ragged: RaggedArray) -> FloatArray:
        """Return the probabilities of all parts, one task after the other, (P, L + 1)."""
        found = np.zeros((len(ragged.rows), len(self.labels_offered) + 1), np.float32)
        for start in range(0, len(found), BLOCK_PARTS):
            rows = slice(start, start + BLOCK_PARTS)
            found[rows, self._tags] = self._shares(ragged.rows[rows])
        return found

    def tag_parts(self, ragged: RaggedArray) -> tuple[FloatArray, list[Tagging]]:
        flat = self.flat_probabilities(ragged)
        return flat, self.decode_probabilities(flat, ragged.offsets)

    def decode_probabilities(self, flat: FloatArray, offsets: Tags) -> list[Tagging]:
        """Return what `decode` returns, by the label transitions, of probabilities (P, L + 1)."""
        with threadpool_limits(1, user_api="blas"):
            found = best_tags(
                flat[:, self._tags], offsets, self._transitions, self.metadata.strength
            )
        return taggings(self._tags[found], offsets, flat)

    def _shares(self, rows: Any) -> FloatArray:
        """Return the probabilities of the head's own classes, (n, K)."""
        features = np.asarray(rows, np.float32)
        if features.shape[1:] != (self.n_features,):
            raise DataError(
                f"parts have shape {features.shape}; expected (parts, {self.n_features}) to fit "
                "the head"
            )
        with threadpool_limits(1, user_api="blas"):
            shares: FloatArray = probabilities(features @ self.weight.T + self.bias, "softmax")
        return shares


def taggings(
    tags: Tags, offsets: Tags, scores: FloatArray, begins: npt.NDArray[np.bool_] | None = None
) -> list[Tagging]:
    """Return the answers for tasks by the tags of their parts.

    Parameters
    ----------
    tags : array of shape (P,)
    offsets : array of shape (N + 1,)
        Task i has the parts ``offsets[i]:offsets[i + 1]``.
    scores : array of shape (P, L + 1)
        Of each part and tag.
    begins : array of bool of shape (P,), optional
        Parts that begin a run also behind one of their own tag.
    """
    answers = [Tagging(tags[a:b], []) for a, b in pairwise(offsets)]
    runs = runs_of(tags, offsets, begins)
    owners = np.searchsorted(offsets, runs[:, 0], side="right") - 1
    for (start, stop, tag), owner in zip(runs.tolist(), owners.tolist(), strict=True):
        score = float(scores[start:stop, tag].mean())
        first = int(offsets[owner])
        answers[owner].runs.append(Run(start - first, stop - first, tag, score))
    return answers
