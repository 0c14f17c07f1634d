"""Control tags that can be learned: one file each, registered by its tag name."""

from .base import REGISTRY, ControlTag
from .choices import ChoicesTag

__all__ = ["REGISTRY", "ChoicesTag", "ControlTag"]
