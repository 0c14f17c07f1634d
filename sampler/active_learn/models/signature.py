"""The inputs of a PyTorch module by the names of its ``forward``, and rows of datasets for them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ..errors import DataError

__all__ = ["Signature"]

# How columns are called that hold what is to be predicted.
TARGETS = frozenset({"label", "labels", "target", "targets", "y"})


class Signature:
    """The inputs of a module.

    Parameters
    ----------
    module : nn.Module

    Attributes
    ----------
    required : tuple of str
        Those without a default, in order.
    """

    def __init__(self, module: nn.Module) -> None:
        if isinstance(module, torch.jit.ScriptModule):  # has no signature once it was saved
            forward: Any = module.forward
            arguments = forward.schema.arguments[1:]
            self._names = {a.name for a in arguments}
            self.required = tuple(a.name for a in arguments if not a.has_default_value())
            self._takes_any = False
            return
        parameters = inspect.signature(module.forward).parameters.values()
        named = [p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
        self._names = {p.name for p in named}
        self.required = tuple(
            p.name for p in named if p.kind is not p.KEYWORD_ONLY and p.default is p.empty
        )
        self._takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)

    def takes(self, name: str) -> bool:
        """Return whether the module takes an input of some name that is no optional target."""
        known = name in self._names or self._takes_any
        return name in self.required or (known and name not in TARGETS)

    def select(self, samples: Any) -> Any:
        """Return what the module takes of rows of a dataset, or of its columns; others as they are.

        A module of one input takes the only column beside the targets, whatever it is called.

        Raises
        ------
        DataError
            When the module needs a column that is not there.
        """
        rows = samples if isinstance(samples, list) else [samples]
        if not rows or not isinstance(rows[0], Mapping):
            return samples
        names = list(rows[0])
        taken = [name for name in names if self.takes(name)]
        missing = [name for name in self.required if name not in taken]
        if missing:
            others = [name for name in names if name not in TARGETS]
            if len(self.required) != 1 or len(others) != 1:
                raise DataError(
                    f"samples have {', '.join(map(repr, names))}; the model needs {missing[0]!r}: "
                    "call the columns as the model's forward calls its inputs"
                )
            columns = [row[others[0]] for row in rows]
            return columns if isinstance(samples, list) else columns[0]
        chosen = [{name: row[name] for name in taken or names} for row in rows]
        return chosen if isinstance(samples, list) else chosen[0]
