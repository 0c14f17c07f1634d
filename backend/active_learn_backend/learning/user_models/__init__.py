"""The team's own model, instead of our encoders and head; one file per kind."""

from .head import OwnHead
from .loading import load_own_model
from .user_model import OwnModel
from .vectors import UnitEmbeddings, unit_length

__all__ = ["OwnHead", "OwnModel", "UnitEmbeddings", "load_own_model", "unit_length"]
