"""Checks of arguments; each error is one line that says what was expected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast, get_args

import numpy as np

from .errors import BudgetError, ParameterError

if TYPE_CHECKING:
    import torch

__all__ = [
    "PROBLEM_TYPES",
    "Output",
    "Problem",
    "ProblemType",
    "check_batch_size",
    "check_budget",
    "check_count",
    "check_device",
    "check_flag",
    "check_parameter",
    "check_pipe",
    "check_problem_type",
    "check_ranked",
    "check_seed",
    "pool_budget",
    "types_of",
]

ProblemType = Literal["classification", "regression", "multilabel"]
#: Tagging, of tasks that are made of parts, is no output of a model beside others.
AnyProblemType = ProblemType | Literal["tagging"]
PROBLEM_TYPES: tuple[AnyProblemType, ...] = (*get_args(ProblemType), "tagging")


class Output(NamedTuple):
    """One of several outputs of a model: what it predicts, and its number of logits."""

    problem_type: ProblemType
    size: int


#: What a model predicts; the logits of several outputs stand side by side.
Problem = AnyProblemType | tuple[Output, ...]


def check_count(name: str, value: Any) -> int:
    """Check that a value is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ParameterError(f"{name} is {value!r}; expected a whole number of at least 1")
    return int(value)


def check_flag(name: str, value: Any) -> bool:
    """Check that a value is True or False."""
    if not isinstance(value, bool | np.bool_):
        short = isinstance(value, str | int | float)
        shown = repr(value) if short else f"a {type(value).__name__}"
        raise ParameterError(f"{name} is {shown}; expected True or False")
    return bool(value)


def check_ranked(n: Any, size: int) -> int:
    """Return how many candidates of a pool to order; all of them when ``n`` is None."""
    wanted = size if n is None else check_count("n", n)
    if wanted > size:
        raise BudgetError(
            f"n is {wanted}, the pool has {size} candidates; ask for at most that many"
        )
    return wanted


def check_problem_type(problem_type: Any) -> Problem:
    """Check a problem type, or the outputs of a model with several; one output is its type."""
    if isinstance(problem_type, list | tuple) and problem_type:
        outputs = tuple(_check_output(output) for output in problem_type)
        return outputs if len(outputs) > 1 else outputs[0].problem_type
    if problem_type == "tagging":
        return "tagging"
    return _check_type(problem_type)


def _check_output(output: Any) -> Output:
    if not (isinstance(output, list | tuple) and len(output) == 2):
        raise ParameterError(
            f"an output is {output!r}; expected its problem type and its number of logits, such as "
            "('classification', 3)"
        )
    if output[0] == "tagging":
        raise ParameterError(
            "tagging goes with no other output of a model: give PooledTasks whose vectors hold all "
            "that tasks are compared by, and whose doubts are those of all outputs"
        )
    return Output(_check_type(output[0]), check_count("the number of logits", output[1]))


def _check_type(problem_type: Any) -> ProblemType:
    for known in get_args(ProblemType):
        if isinstance(problem_type, str) and problem_type == known:
            return cast(ProblemType, known)
    raise ParameterError(
        f"problem_type is {problem_type!r}; expected one of {', '.join(PROBLEM_TYPES)}"
    )


def types_of(problem: Problem) -> tuple[AnyProblemType, ...]:
    """Return the problem type of each output."""
    return (problem,) if isinstance(problem, str) else tuple(one.problem_type for one in problem)


def check_budget(budget: Any) -> int | float:
    """Check that a budget is a whole number of at least 1 or a fraction in (0, 1)."""
    if isinstance(budget, int | np.integer) and not isinstance(budget, bool) and budget >= 1:
        return int(budget)
    if isinstance(budget, float | np.floating) and 0 < budget < 1:
        return float(budget)
    raise BudgetError(
        f"budget is {budget!r}; expected a whole number of at least 1, or a fraction in (0, 1)"
    )


def pool_budget(budget: int | float, size: int) -> int:
    """Return how many candidates a budget chooses from a pool of some size, at least 1."""
    return budget if isinstance(budget, int) else max(1, round(budget * size))


def check_pipe(budget: int | float, total: Any, precompute_covariance: bool) -> None:
    """Check that a stream has its length with a whole number and none with a rate.

    ``precompute_covariance`` is refused, because a pipe is read once.
    """
    if precompute_covariance:
        raise ParameterError(
            "precompute_covariance on a pipe: the covariance of all candidates cannot be known "
            "before the pipe is read, and it is read once; give a pool, or leave it off"
        )
    if isinstance(budget, float):
        if total is not None:
            raise BudgetError(f"the budget is the rate {budget}; total goes with a number")
        return
    if total is None:
        raise BudgetError(
            f"the budget is {budget} on a pipe of unknown length; give its length as total=, "
            "or a rate in (0, 1) as the budget"
        )
    if check_count("total", total) < budget:
        raise BudgetError(
            f"the budget is {budget}, the stream has total={total} samples; lower the budget"
        )


def check_parameter(name: str, kind: Any, value: Any) -> None:
    """Check a value against the type annotation of a strategy's parameter.

    Numbers must be finite and above 0, whole numbers at least 1.
    """
    if value is None and type(None) in get_args(kind):
        return
    kind = next((part for part in get_args(kind) if part in (float, int)), kind)
    if kind is bool:
        check_flag(name, value)
    elif kind is int:
        check_count(name, value)
    elif kind is float:
        number = isinstance(value, int | float | np.integer | np.floating)
        if not number or isinstance(value, bool) or not 0 < value < np.inf:
            raise ParameterError(f"{name} is {value!r}; expected a number above 0")
    elif value not in get_args(kind):
        choices = ", ".join(repr(choice) for choice in get_args(kind))
        raise ParameterError(f"{name} is {value!r}; expected one of {choices}")


def check_batch_size(batch_size: Any) -> int | None:
    """Return the batch size, None for 'auto'."""
    return None if batch_size == "auto" else check_count("batch_size", batch_size)


def check_device(device: Any) -> torch.device:
    """Return the device, the CPU when None; it must be one that PyTorch can use here."""
    import torch  # takes seconds, and the other checks do without it

    try:
        return torch.empty(0, device="cpu" if device is None else device).device
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ParameterError(
            f"device {device!r} cannot be used here; expected 'cpu', or another device that this "
            "PyTorch was built for and the machine has"
        ) from error


def check_seed(random_state: Any) -> int:
    """Return the seed of all choices, drawn from the system when none is given."""
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
