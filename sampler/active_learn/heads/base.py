"""The interface of a head: embeddings in, answers out; and its losses against the truth."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from ..validation import ProblemType

__all__ = ["Answer", "FloatArray", "Head", "ProblemType", "checked_weights"]

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Answer:
    """The answer of a head for one sample.

    Attributes
    ----------
    label : str, list of str or float
        In classification, multilabel and regression.
    score : float or None
        The head's probability that the label is right; None in regression.
    """

    label: Any
    score: float | None


class Head(ABC):
    """A model that answers for embeddings, and that the sampler can read.

    Attributes
    ----------
    problem_type : {'classification', 'regression', 'multilabel'}
    labels_offered : tuple of str
        The labels of the config, in its order; empty in regression.
    n_features : int
        Length of the vectors that it takes.
    version : str
        Name under which live answers are stored, never the project's current version.
    """

    problem_type: ProblemType
    labels_offered: tuple[str, ...]
    n_features: int

    @property
    @abstractmethod
    def version(self) -> str: ...

    @abstractmethod
    def sampler_model(self) -> Any:
        """Return what `ActiveSampler` takes as its model, with embeddings as candidates."""

    @abstractmethod
    def predict(self, vectors: FloatArray) -> list[Answer]:
        """Return the answer for each row of an (n, n_features) array."""

    def label_probabilities(self, vectors: FloatArray) -> FloatArray:
        """Return the probability of each offered label, (n, L), of an (n, n_features) array.

        Raises
        ------
        DataError
            When the head gives a sample no more than one answer: it is not a multilabel head.
        """
        raise DataError(f"a {self.problem_type} head has no probability for each label")

    def losses(self, vectors: FloatArray, labels: Sequence[Any]) -> npt.NDArray[np.float64]:
        """Compute the loss of the answer for each row.

        Parameters
        ----------
        vectors : array of shape (n, n_features)
        labels : sequence of length n
            True labels: str, list of str, or number.

        Returns
        -------
        array of shape (n,), float64
            Classification: 1 where the answer is wrong, else 0. Multilabel: the share of the
            offered labels that are wrongly set or wrongly missing. Regression: absolute error.
        """
        answers = [answer.label for answer in self.predict(vectors)]
        pairs = zip(answers, labels, strict=True)
        if self.problem_type == "classification":
            values = [float(answer != truth) for answer, truth in pairs]
        elif self.problem_type == "multilabel":
            offered = set(self.labels_offered)
            wrong = [len(set(answer) ^ (set(truth) & offered)) for answer, truth in pairs]
            values = [count / len(offered) for count in wrong]
        else:
            values = [abs(answer - float(truth)) for answer, truth in pairs]
        return np.array(values, dtype=np.float64)


def checked_weights(weight: Any, bias: Any, n_outputs: int) -> tuple[FloatArray, FloatArray]:
    """Return the weight, (n_outputs, d), and the bias, (n_outputs,), of a linear head.

    Raises
    ------
    DataError
        When they have other shapes, or a number is not finite.
    """
    weight, bias = np.asarray(weight, np.float32), np.asarray(bias, np.float32)
    if weight.ndim != 2 or not weight.size or len(weight) != n_outputs:
        raise DataError(
            f"the weight of a head has shape {weight.shape}; expected ({n_outputs}, features)"
        )
    if bias.shape != (n_outputs,):
        raise DataError(f"the bias of a head has shape {bias.shape}; expected ({n_outputs},)")
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise DataError("a head holds NaN or infinity; train it again")
    return weight, bias
