"""The model of tasks that are made of parts: what tells how likely the classes of the parts are."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..errors import DataError, ModelError
from ..ragged import RaggedArray
from .base import ModelOutput
from .pooled_tasks import PooledTasks, pool_parts

__all__ = ["TaggingModel"]


class TaggingModel:
    """The adapter of a tagging head, or of a callable, for tasks that are made of parts.

    A task's embedding is the mean of its parts by the doubt about them, its only logit their mean
    doubt, which is the weight that the task has as a reference.

    Parameters
    ----------
    model : TaggingHead, callable or None
        A callable gets a list of arrays of shape (n_i, d), and returns a list of the class
        probabilities of their parts, (n_i, K). None before any label: all parts weigh the same.

    Raises
    ------
    ModelError
        When it is none of these.
    """

    layer_name = None
    weight = None
    bias = None

    def __init__(self, model: Any) -> None:
        if not (model is None or callable(model) or hasattr(model, "flat_probabilities")):
            raise ModelError(
                f"a model of type {type(model).__name__} does not tag parts; expected a "
                "TaggingHead, a callable that returns the class probabilities of the parts of each "
                "task, or None before any label"
            )
        self.model = model
        self.sizes: tuple[int, int] | None = None
        if hasattr(model, "n_features"):
            self.sizes = int(model.n_features), 1

    def __call__(self, batch: Any) -> ModelOutput:
        """Return the outputs of tasks: a list of parts or pooled, a RaggedArray, PooledTasks."""
        tasks = batch if isinstance(batch, PooledTasks) else self._pool(batch)
        self.sizes = tasks.vectors.shape[1], 1
        vectors, doubts, costs = (
            torch.from_numpy(np.asarray(part, np.float32))
            for part in (tasks.vectors, tasks.doubts, tasks.costs)
        )
        return ModelOutput(doubts[:, None], vectors, costs=costs)

    def _pool(self, batch: Any) -> PooledTasks:
        if isinstance(batch, list) and batch and all(isinstance(x, PooledTasks) for x in batch):
            return PooledTasks.cat(batch)
        ragged = RaggedArray.of(batch)
        return pool_parts(ragged, None if self.model is None else self._probabilities, ragged.costs)

    def _probabilities(self, parts: RaggedArray) -> Any:
        if hasattr(self.model, "flat_probabilities"):
            return self.model.flat_probabilities(parts)
        try:
            found = self.model(parts.split(parts.rows))
        except Exception as error:
            raise ModelError(f"the callable failed: {error}") from error
        arrays = [np.asarray(one) for one in found]
        classes = arrays[0].shape[-1:] if arrays else ()
        if [one.shape for one in arrays] != [(size, *classes) for size in parts.sizes.tolist()]:
            raise DataError(
                f"the callable returns probabilities of {len(arrays)} tasks that do not fit the "
                f"parts of {len(parts)}; expected an array of shape (parts, classes) for each task"
            )
        return np.concatenate(arrays)
