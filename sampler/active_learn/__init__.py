"""Choose what to label next.

``from active_learn import ActiveSampler``. torch, which takes seconds to import, is imported when a
sampler is made, or when what needs it (`LinearHead`, `rank_partitioned` and the like) is asked for,
so that a program that imports this package (a command line, a web server) starts at once.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import (
    ActiveLearnError,
    BudgetError,
    DataError,
    MissingOptionalDependencyError,
    ModelError,
    ParameterError,
    StateError,
)
from .ragged import RaggedArray

if TYPE_CHECKING:
    from .inputs.labeled_data import LabeledData
    from .models import LinearHead, ModelOutput, PooledTasks, pool_parts
    from .partitioned import rank_partitioned
    from .ranking import Ranking
    from .sampler import ActiveSampler

__version__ = "0.1.0"

__all__ = [
    "ActiveLearnError",
    "ActiveSampler",
    "BudgetError",
    "DataError",
    "LabeledData",
    "LinearHead",
    "MissingOptionalDependencyError",
    "ModelError",
    "ModelOutput",
    "ParameterError",
    "PooledTasks",
    "RaggedArray",
    "Ranking",
    "StateError",
    "__version__",
    "pool_parts",
    "rank_partitioned",
]

_ROOMS = {
    "ActiveSampler": ".sampler",
    "LabeledData": ".inputs.labeled_data",
    "LinearHead": ".models",
    "ModelOutput": ".models",
    "PooledTasks": ".models",
    "Ranking": ".ranking",
    "pool_parts": ".models",
    "rank_partitioned": ".partitioned",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ROOMS[name], __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
