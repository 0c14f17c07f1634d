"""Tagging of regions that overlap: a head for the outer layer of them, and one for the inner.

Both are trained on all parts, so that labels exclude one another in each. What the inner head finds
counts where it lies to a run of another label of the outer head as it was seen in the labels:
within a longer one, on the same parts, or across its border. Elsewhere both were taught the same,
and the outer head decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ..errors import DataError
from ..ragged import RaggedArray
from .base import FloatArray
from .files import head_name
from .metadata import HeadConfig
from .overlaps import Relation, join_runs
from .tagging import PartTagger, Tagging, TaggingHead, TaggingMetadata

__all__ = ["NestedMetadata", "NestedTaggingHead", "TrainedTagger"]


class NestedMetadata(BaseModel):
    """What describes a nested head beside its weights; saved as JSON with them.

    Attributes
    ----------
    problem_type : 'nested-tagging'
    outer, inner : TaggingMetadata
    relations : tuple of Relation
        How runs of the inner head may lie to those of the outer one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    problem_type: Literal["nested-tagging"] = "nested-tagging"
    outer: TaggingMetadata
    inner: TaggingMetadata
    relations: Annotated[tuple[Relation, ...], Field(min_length=1)] = ("within",)

    @property
    def config(self) -> HeadConfig:
        """How both are trained."""
        return self.outer.config


class NestedTaggingHead(PartTagger):
    """Two tagging heads: of the outer and of the inner layer of regions.

    Parameters
    ----------
    metadata : NestedMetadata
    weight : array of shape (K, d), float32
        The rows of the outer head, then those of the inner one.
    bias : array of shape (K,), float32
    round : int

    Attributes
    ----------
    outer, inner : TaggingHead

    Raises
    ------
    DataError
        When shapes do not fit each other, or a number is not finite.
    """

    problem_type: Literal["nested-tagging"] = "nested-tagging"

    def __init__(
        self, metadata: NestedMetadata, weight: FloatArray, bias: FloatArray, round: int
    ) -> None:
        if metadata.outer.config != metadata.inner.config:
            raise DataError("its two heads are of different labels or parts")
        self.metadata, self.weight, self.bias, self.round = metadata, weight, bias, round
        self.labels_offered = metadata.config.labels_offered
        n = len(metadata.outer.classes)
        self.outer = TaggingHead(metadata.outer, weight[:n], bias[:n], round)
        self.inner = TaggingHead(metadata.inner, weight[n:], bias[n:], round)
        self.n_features = self.outer.n_features

    @classmethod
    def of(
        cls, outer: TaggingHead, inner: TaggingHead, relations: Iterable[Relation] = ("within",)
    ) -> NestedTaggingHead:
        """Return two heads of one round, of the same labels and parts, as one.

        Parameters
        ----------
        relations : iterable of {'within', 'same', 'crossing'}
            How what the inner head finds may lie to what the outer one finds, to count.
        """
        return cls(
            NestedMetadata(outer=outer.metadata, inner=inner.metadata, relations=tuple(relations)),
            np.concatenate([outer.weight, inner.weight]),
            np.concatenate([outer.bias, inner.bias]),
            outer.round,
        )

    @property
    def version(self) -> str:
        """Name under which live answers are stored."""
        return head_name(self.round)

    def reads(self, encoder: str, n_features: int) -> bool:
        """Return whether the head was trained on parts of this encoder."""
        return self.outer.reads(encoder, n_features)

    def without_weights(self) -> NestedTaggingHead:
        """Return the head with weights of zero: how it is trained, and nothing of what it knows."""
        both = self.outer.without_weights(), self.inner.without_weights()
        return NestedTaggingHead.of(*both, self.metadata.relations)

    def flat_probabilities(self, ragged: RaggedArray) -> FloatArray:
        """Return of each part the probabilities of that head which is less sure, (P, L + 1)."""
        return _less_sure(*(one.flat_probabilities(ragged) for one in (self.outer, self.inner)))

    def tag_parts(self, ragged: RaggedArray) -> tuple[FloatArray, list[Tagging]]:
        """Return the probabilities (P, L + 1), and the answer for each task.

        The tags are those of the outer head.
        """
        outer, answers = self.outer.tag_parts(ragged)
        inner, further = self.inner.tag_parts(ragged)
        found = [
            Tagging(one.tags, join_runs(one.runs, other.runs, self.metadata.relations))
            for one, other in zip(answers, further, strict=True)
        ]
        return _less_sure(outer, inner), found


#: What a round trains of parts.
TrainedTagger = TaggingHead | NestedTaggingHead


def _less_sure(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return of each part those probabilities of which the two largest are closer."""
    margins = []
    for one in (first, second):
        top = np.partition(one, -2, axis=1)
        margins.append(top[:, -1] - top[:, -2])
    return np.where((margins[0] <= margins[1])[:, None], first, second)
