"""The cells of an image as a vision model sees them: its patches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..encoders.images import open_image
from .cells import Size, cell_places
from .parts import TaskParts

if TYPE_CHECKING:
    from ..encoders.patch_states import PatchStates  # imports transformers, which takes seconds

__all__ = ["PatchEncoder"]


class PatchEncoder:
    """The features of cells: the states of a vision model's patches.

    Parameters
    ----------
    states : PatchStates
    fingerprint : str
        Of the model.
    """

    def __init__(self, states: PatchStates, fingerprint: str) -> None:
        self._states = states
        self.fingerprint = f"patches1-{fingerprint}"
        self.n_features = states.n_features

    @property
    def states(self) -> PatchStates:
        """What makes the states of patches."""
        return self._states

    def prepare(self, raw: bytes) -> tuple[Any, Size]:
        image = open_image(raw)
        return self._states.prepare(image), image.size

    def encode(self, prepared: Sequence[tuple[Any, Size]]) -> list[TaskParts]:
        patches = self._states([pixels for pixels, _ in prepared])
        return [
            TaskParts(one.states, cell_places(one.rows, one.columns, size))
            for one, (_, size) in zip(patches, prepared, strict=True)
        ]
