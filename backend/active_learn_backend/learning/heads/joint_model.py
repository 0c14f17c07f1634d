"""The team's own model beside trained heads, as one model for the ranking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from active_learn.heads.base import FloatArray

from ..user_models import OwnHead, unit_length

__all__ = ["JointModel"]


@dataclass(frozen=True)
class JointModel:
    """Gives the logits of all controls side by side, and what they are linear in.

    That is the embedding of the own model, and the same in unit length, which trained heads read.
    Both point in one direction, so angles between samples hardly change.

    Attributes
    ----------
    own : callable
        Splits vectors into the own model's logits and embedding.
    heads : tuple of (weight, bias) or None
        In the order of the controls; None stands for the own model.
    """

    own: Callable[[Any], tuple[FloatArray, FloatArray]]
    heads: tuple[tuple[FloatArray, FloatArray] | None, ...]

    @classmethod
    def of(cls, own: OwnHead, models: Sequence[Any]) -> JointModel:
        """Return the model of an own head (None among the models) and heads on embeddings.

        A head that is not linear predicts numbers, of which each weighs the same in the ranking:
        zeros stand for it, as what is read here has to be linear.
        """
        heads: list[tuple[FloatArray, FloatArray] | None] = []
        for one in models:
            if one is not None and one.weight is None:
                features, size = one.sizes
                heads.append((np.zeros((size, features), np.float32), np.zeros(size, np.float32)))
            else:
                heads.append(one and (one.weight.numpy(), one.bias.numpy()))
        return cls(own.sampler_model(), tuple(heads))

    def __call__(self, rows: Any) -> tuple[FloatArray, FloatArray]:
        logits, embedding = self.own(rows)
        unit = unit_length(embedding)
        parts = [logits if one is None else unit @ one[0].T + one[1] for one in self.heads]
        return np.concatenate(parts, axis=1), np.concatenate([embedding, unit], axis=1)
