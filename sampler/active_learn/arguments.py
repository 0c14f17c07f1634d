"""Checks of arguments: what cannot be used is refused with one line."""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import BudgetError, ParameterError

__all__ = ["check_budget", "check_count", "check_seed"]


def check_count(name: str, value: Any) -> int:
    """Refuse what is not a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ParameterError(f"{name} is {value!r}; expected a whole number of at least 1")
    return int(value)


def check_budget(budget: Any) -> int | float:
    """Refuse what is neither a whole number of at least 1 nor a fraction in (0, 1)."""
    if isinstance(budget, int | np.integer) and not isinstance(budget, bool) and budget >= 1:
        return int(budget)
    if isinstance(budget, float | np.floating) and 0 < budget < 1:
        return float(budget)
    raise BudgetError(
        f"budget is {budget!r}; expected a whole number of at least 1, or a fraction in (0, 1)"
    )


def check_seed(random_state: Any) -> int:
    """Give the seed of all choices; drawn from the system when none is given."""
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1, np.uint64)[0])
    if (
        isinstance(random_state, bool)
        or not isinstance(random_state, int | np.integer)
        or random_state < 0
    ):
        raise ParameterError(
            f"random_state is {random_state!r}; expected a whole number of at least 0, or None"
        )
    return int(random_state)
