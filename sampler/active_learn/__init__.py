"""Choose what to label next.

``from active_learn import ActiveSampler``. What needs torch is imported when it is first asked
for, so that a program that only wants the errors (a command line, a web server) starts at once.
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

if TYPE_CHECKING:
    from .models import LinearHead, ModelOutput
    from .partitioned import rank_partitioned
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
    "rank_partitioned",
]

_ROOMS = {
    "ActiveSampler": ".sampler",
    "LinearHead": ".models",
    "ModelOutput": ".models",
    "Ranking": ".sampler",
    "rank_partitioned": ".partitioned",
}


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ROOMS[name], __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
