"""What a kind of parts is: what the parts of a content are, and how tags and regions relate."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:  # this file and those of the kinds are copied into folders of exported heads
    from ...labeling.controls import RegionTag
    from ...labeling.regions import ScoredRegion
    from .parts import Parts, Places, TaskParts

__all__ = ["PartEncoder", "PartKind", "Tags"]

Tags = npt.NDArray[np.int64]


class PartEncoder(Protocol):
    """Finds the parts of contents, and computes their features.

    Attributes
    ----------
    fingerprint : str
        Names everything that the features depend on; fit for a folder's name.
    n_features : int
    """

    fingerprint: str
    n_features: int

    def prepare(self, raw: Any) -> Any:
        """Bring one text (str) or file (bytes) into the form that `encode` takes.

        Called by several threads at once, since this is where files are decoded.

        Raises
        ------
        ContentError
            When the content cannot be read; others are not affected.
        """

    def encode(self, prepared: Sequence[Any]) -> list[TaskParts]:
        """Return the parts of some contents: `ExactText`, or files as they were prepared."""


class PartKind(ABC):
    """What the parts of a kind of content are."""

    #: Whether the parts of a task are a sequence, in which a tag depends on the one before.
    sequential: ClassVar[bool]
    #: What a part is called.
    noun: ClassVar[str]
    #: What the F1 of its regions is called.
    metric: ClassVar[str]
    #: Whether its places are borders in a text.
    is_text: ClassVar[bool] = False

    def for_control(self, control: RegionTag) -> PartKind:
        """Return the kind of the same parts where a control marks them in its own way."""
        return self

    def prior(self, parts: Parts) -> npt.NDArray[np.float32] | None:
        """Return how much each part weighs before there is a head, from 0 to 1; None: all alike."""
        return None

    @abstractmethod
    def tags(self, regions: Sequence[Sequence[Any]], labels: Sequence[str], places: Places) -> Tags:
        """Return the tag of each part of a task by its regions: 0 outside, else a label's place."""

    @abstractmethod
    def regions(
        self, runs: Iterable[Any], labels: Sequence[str], places: Places
    ) -> list[ScoredRegion]:
        """Return the regions that runs of tags stand for, see `Run` of the heads."""
