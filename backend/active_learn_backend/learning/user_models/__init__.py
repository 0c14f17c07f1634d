"""The team's own model, instead of our encoders and head; one file per kind."""

from .head import OwnHead
from .loading import finds_regions, load_model_of_project, load_own_model, load_region_model
from .region_head import OwnRegionHead, read_own_head, write_own_head
from .region_model import BoundRegionModel
from .token_classifier import TokenClassifier
from .user_model import OwnModel
from .vectors import UnitEmbeddings, unit_length

__all__ = [
    "BoundRegionModel",
    "OwnHead",
    "OwnModel",
    "OwnRegionHead",
    "TokenClassifier",
    "UnitEmbeddings",
    "finds_regions",
    "load_model_of_project",
    "load_own_model",
    "load_region_model",
    "read_own_head",
    "unit_length",
    "write_own_head",
]
