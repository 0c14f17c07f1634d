"""The team's own model, instead of our encoders and head; one file per kind."""

from .loading import load_own_model
from .user_model import OwnModel

__all__ = ["OwnModel", "load_own_model"]
