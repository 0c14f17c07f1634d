"""The parts that an own model makes of contents, by its kind."""

from __future__ import annotations

from dataclasses import dataclass

from ..encoders.word_states import WordStates
from ..user_models import BoundRegionModel, TokenClassifier
from ..user_models.detector import Detector
from ..user_models.patch_model import PatchModel
from .boxes import BoxEncoder, Boxes
from .cells import Cells
from .kinds import WordEncoder, Words
from .part_kind import PartEncoder, PartKind
from .patches import PatchEncoder

__all__ = ["parts_of_model"]


@dataclass
class OwnWords:
    """A token classifier as the encoder of words."""

    fingerprint: str
    word_states: WordStates


def parts_of_model(own: BoundRegionModel) -> tuple[PartKind, PartEncoder]:
    """Return the kind of the parts of an own model, and what makes them."""
    as_is = own.classes is not None
    if isinstance(own.model, Detector):
        return Boxes(), BoxEncoder(own.model, own.fingerprint, with_scores=as_is)
    if isinstance(own.model, PatchModel):
        return Cells(), PatchEncoder(own.model.states, own.fingerprint)
    assert isinstance(own.model, TokenClassifier)
    return Words(), WordEncoder(OwnWords(own.fingerprint, own.model.words(as_is)))
