"""Choose what to label next."""

from .errors import (
    ActiveLearnError,
    BudgetError,
    DataError,
    MissingOptionalDependencyError,
    ModelError,
    ParameterError,
    StateError,
)
from .models import LinearHead, ModelOutput
from .sampler import ActiveSampler, Ranking

__version__ = "0.1.0"

__all__ = [
    "ActiveLearnError",
    "ActiveSampler",
    "BudgetError",
    "DataError",
    "LinearHead",
    "MissingOptionalDependencyError",
    "ModelError",
    "ModelOutput",
    "ParameterError",
    "Ranking",
    "StateError",
    "__version__",
]
