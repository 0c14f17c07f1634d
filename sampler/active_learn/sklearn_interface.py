"""scikit-learn's conventions for parameters, without an import of scikit-learn (seconds).

Nor does this module import torch before a sampler is made.
"""

from __future__ import annotations

import inspect
import os
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from .errors import ParameterError
from .tables import html_table
from .validation import check_flag

if TYPE_CHECKING:
    from .problem import SelectionProblem
    from .streams.stream import Stream

__all__ = ["Parameters"]

S = TypeVar("S", bound="Parameters")


def is_short(value: Any) -> bool:
    """Return whether a value is short when printed."""
    import torch

    from .models import EmbeddingHead

    short = (str, int, float, type(None), os.PathLike, torch.device, EmbeddingHead)
    return isinstance(value, short)


class Parameters:
    """`get_params`, `set_params`, cloning and a repr, for a class with a `SelectionProblem`.

    Attributes
    ----------
    problem : SelectionProblem
    """

    problem: SelectionProblem
    _stream: Stream | None
    # What the constructor was called with, the strategy's own parameters included.
    _arguments: dict[str, Any]
    # Arguments that change what the model returns of the labeled samples.
    _of_outputs: ClassVar[frozenset[str]] = frozenset({"model", "layer", "labeled_data"})

    @classmethod
    def _defaults(cls) -> dict[str, Any]:
        """Return the constructor's arguments and their defaults."""
        arguments = list(inspect.signature(cls.__init__).parameters.values())[1:]
        return {a.name: a.default for a in arguments if a.kind is not a.VAR_KEYWORD}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the constructor's arguments, and the strategy's own parameters that are set.

        ``labeled_data`` is the argument as it was; after `update`, and in a sampler that was
        pickled, it is the `ModelOutput` of all labeled samples, which the constructor takes too.

        Parameters
        ----------
        deep : bool
            No effect: no parameter is an estimator.
        """
        return dict(self._arguments)

    def set_params(self: S, **params: Any) -> S:
        """Set some parameters; nothing is changed when one of them cannot be used.

        Another strategy begins with its own defaults. The model runs over the labeled data again
        only when one of the two is set.

        Returns
        -------
        the sampler itself

        Raises
        ------
        ParameterError
            When a name is unknown (the message lists the known ones), a value cannot be used, or a
            stream is in progress.
        """
        from .models import ModelOutput
        from .strategies import parameters_of

        if not params:
            return self
        if self._stream is not None:
            raise ParameterError("a stream is in progress; set parameters before it starts")
        defaults, arguments = self._defaults(), dict(self._arguments)
        strategy = params.get("strategy", arguments["strategy"])
        own = parameters_of(strategy)
        unknown = [name for name in params if name not in defaults and name not in own]
        if unknown:
            known = ", ".join(dict.fromkeys([*defaults, *own]))
            raise ParameterError(f"parameter {unknown[0]!r} is unknown; the sampler takes {known}")
        if strategy != arguments["strategy"]:
            arguments = {name: arguments[name] for name in defaults} | {"rank": defaults["rank"]}
        arguments |= params
        check_flag("precompute_covariance", arguments["precompute_covariance"])
        changed = self._of_outputs & params.keys()
        outputs_only = isinstance(arguments["labeled_data"], ModelOutput)
        if changed and outputs_only and "labeled_data" not in changed:
            raise ParameterError(
                "of the labeled samples only the earlier model's outputs are kept; set "
                "labeled_data together with the model"
            )
        labeled = arguments["labeled_data"] if changed else self.problem.labeled
        new = type(self)(**{**arguments, "labeled_data": labeled})
        new._arguments = arguments
        if "random_state" not in params:
            new.problem.seed = self.problem.seed
        vars(self).update(vars(new))
        return self

    def _strategy_parameters(self) -> dict[str, Any]:
        """Return the strategy's own parameters that are set."""
        from .strategies import parameters_of

        own = parameters_of(self.problem.strategy.name)
        given = {name: value for name, value in self._arguments.items() if name in own}
        if given.get("rank") == 1:
            del given["rank"]
        return given

    def __sklearn_clone__(self: S) -> S:
        """Return a sampler with the same parameters; both use one model, which neither changes."""
        return type(self)(**self.get_params())

    def __getstate__(self) -> dict[str, Any]:
        """Return the state to pickle: outputs of labeled samples, not the samples themselves."""
        replaced = {"model": self.problem.adapter, "labeled_data": self.problem.labeled}
        return {**vars(self), "_arguments": {**self._arguments, **replaced}}

    def __repr__(self) -> str:
        defaults = self._defaults()
        shown = [
            f"{name}={self._shown(name, value)}"
            for name, value in self._arguments.items()
            if name not in defaults or value is not defaults[name]
            if not (name in defaults and is_short(value) and value == defaults[name])
            if name != "labeled_data" or self.problem.labeled is not None
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def _repr_html_(self) -> str:
        """Return all settings, and what was found out of the model, as a table."""
        settings = {name: self._shown(name, value) for name, value in self._arguments.items()}
        found = {name: str(value) for name, value in self.problem.facts().items()}
        return html_table((type(self).__name__, ""), [*map(list, (settings | found).items())])

    def _shown(self, name: str, value: Any) -> str:
        """Return an argument in short: of what is long when printed, its type."""
        if name == "labeled_data":
            labeled = self.problem.labeled
            return "None" if labeled is None else f"<{len(labeled)} samples>"
        if is_short(value):
            return repr(value)
        kind = type(value).__name__
        if name == "model" and isinstance(value, tuple):
            kind = ", ".join(type(part).__name__ for part in value)
        facts = self.problem.facts() if name == "model" else {}
        found = f": layer {facts['layer']}" if "layer" in facts else ""
        return f"<{kind}{found}>"
