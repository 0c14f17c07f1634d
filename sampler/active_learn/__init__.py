"""Choose what to label next."""

from .errors import ActiveLearnError

__version__ = "0.1.0"

__all__ = ["ActiveLearnError", "__version__"]
