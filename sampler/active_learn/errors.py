"""The one exception tree. Every message says what is wrong, what was expected and what to do.

``ActiveLearnError`` is what a caller catches to catch everything that this distribution raises on
purpose. The Label Studio plugin derives its own errors from the same root.
"""

from __future__ import annotations

__all__ = [
    "ActiveLearnError",
    "BudgetError",
    "DataError",
    "MissingOptionalDependencyError",
    "ModelError",
    "ParameterError",
    "StateError",
    "first_line",
]


class ActiveLearnError(Exception):
    """Root of every error raised on purpose."""


class ParameterError(ActiveLearnError, ValueError):
    """An argument has a value that cannot be used."""


class BudgetError(ParameterError):
    """The budget does not fit the pool or the stream (the message carries both numbers)."""


class DataError(ActiveLearnError, ValueError):
    """Candidates or labeled data are empty, of the wrong shape, or hold NaN or infinity."""


class ModelError(ActiveLearnError):
    """The model cannot be read: no last linear layer, unsupported node, logits not reproduced."""


class StateError(ActiveLearnError):
    """A saved state is damaged, foreign, or does not fit this sampler."""


class MissingOptionalDependencyError(ActiveLearnError, ImportError):
    """An optional package is needed; the message names the pip command that installs it."""


def first_line(error: BaseException) -> str:
    """Return the first line of another library's error, its kind where it says nothing."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
