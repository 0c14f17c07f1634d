"""The head of a replay: trained by `fit_head`, from the former one, as a round trains it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import DataError
from ..heads import HeadConfig, ProblemType, TrainedHead, fit_head
from ..models import EmbeddingHead, LinearHead

__all__ = ["ReplayedHead"]


class ReplayedHead:
    """A head that is trained again each time that labels come in.

    While there is nothing to tell apart (one class only, for example), `fit_head` trains no head.
    Then the one label that was seen is the answer for every row, and strategies read an untrained
    head, as in a round. In regression with several outputs each output has a head of its own.

    Parameters
    ----------
    y : ndarray of shape (n,) or (n, L)
        All labels of the data, checked by `check_labels`.
    n_features : int
        Length of the embeddings.
    problem_type : {'classification', 'regression', 'multilabel'}
    config : HeadConfig, optional
        How the heads are trained. When omitted, all classes of ``y`` are offered in sorted order,
        and classes are not weighted.

    Attributes
    ----------
    heads : list of TrainedHead
        The present head, or one for each output in regression; empty while there is none.
    untrained : LinearHead
        What strategies read before there is a head.

    Raises
    ------
    DataError
        When the labels that the config offers are not those of ``y``.
    """

    def __init__(
        self,
        y: np.ndarray,
        n_features: int,
        problem_type: ProblemType,
        config: HeadConfig | None = None,
    ) -> None:
        self.problem_type = problem_type
        self.config = config or HeadConfig(labels_offered=_labels_of(y, problem_type))
        offered = self.config.labels_offered
        if problem_type == "classification" and not set(_names(np.unique(y))) <= set(offered):
            raise DataError("labels hold classes that the config of the heads does not offer")
        if problem_type == "multilabel" and y.shape[1] != len(offered):
            raise DataError(
                f"labels have {y.shape[1]} columns, but the config of the heads offers "
                f"{len(offered)} labels; expected one column per label"
            )
        n_outputs = len(offered) or y.reshape(len(y), -1).shape[1]
        if problem_type == "classification":  # strategies compare two logits at least
            n_outputs = max(2, n_outputs)
        self.untrained = LinearHead.untrained(n_outputs, n_features)
        self.reset()

    def reset(self) -> None:
        """Forget all labels, and the heads that were trained on them."""
        self.heads: list[TrainedHead] = []
        self._only_label: np.ndarray | None = None
        self._round = 0

    def fit(self, X: np.ndarray, y: np.ndarray) -> None:
        """Train on labeled rows, starting from the former head.

        Parameters
        ----------
        X : ndarray of shape (n, d), n at least 1
        y : ndarray of shape (n,) or (n, L)
        """
        self._round += 1
        targets = self._targets(y)
        formers: Sequence[TrainedHead | None] = self.heads or [None] * len(targets)
        heads = [
            fit_head(
                self.problem_type,
                self.config.labels_offered,
                X,
                labels,
                round=self._round,
                former=former,
                class_weight=self.config.class_weight,
                bounds=self.config.bounds,
                encoder=self.config.encoder,
            )
            for labels, former in zip(targets, formers, strict=True)
        ]
        self.heads = [head for head in heads if head is not None]
        self._only_label = None if self.heads else self._truth(y[:1])

    def sampler_model(self) -> EmbeddingHead:
        """Return what strategies read: the calibrated head, or the untrained one before it."""
        if not self.heads:
            return self.untrained
        return EmbeddingHead.side_by_side([head.sampler_model() for head in self.heads])

    def score(self, X: np.ndarray, y: np.ndarray) -> float:
        """Compute accuracy, R² in regression, or micro-averaged F1 in multilabel.

        Parameters
        ----------
        X : ndarray of shape (n, d)
        y : ndarray of shape (n,) or (n, L)
        """
        answers, truth = self._answers(X), self._truth(y)
        if self.problem_type == "classification":
            return float(np.mean(answers == truth))
        if self.problem_type == "multilabel":
            n_set = answers.sum() + truth.sum()
            return float(2 * (answers & truth).sum() / n_set) if n_set else 1.0
        residual = np.square(truth - answers).sum()
        return float(1 - residual / np.square(truth - truth.mean(axis=0)).sum())

    def _targets(self, y: np.ndarray) -> list[Any]:
        """Return labels as `fit_head` takes them, a list of them for each head."""
        truth = self._truth(y)
        if self.problem_type == "classification":
            return [truth.tolist()]
        if self.problem_type == "multilabel":
            offered = self.config.labels_offered
            return [[[offered[at] for at in np.flatnonzero(row)] for row in truth]]
        return list(truth.T)

    def _truth(self, y: np.ndarray) -> np.ndarray:
        """Return labels as `_answers` returns answers."""
        if self.problem_type == "classification":
            return _names(y)
        if self.problem_type == "multilabel":
            return y > 0
        return y.reshape(len(y), -1)

    def _answers(self, X: np.ndarray) -> np.ndarray:
        """Return class names (n,), whether each label is set (n, L), or predictions (n, k)."""
        if self._only_label is not None:
            return np.repeat(self._only_label, len(X), axis=0)
        answers = [[answer.label for answer in head.predict(X)] for head in self.heads]
        if self.problem_type == "classification":
            return np.array(answers[0])
        if self.problem_type == "multilabel":
            offered = self.config.labels_offered
            return np.array([[name in label for name in offered] for label in answers[0]])
        return np.array(answers).T


def _labels_of(y: np.ndarray, problem_type: ProblemType) -> tuple[str, ...]:
    """Return the classes that occur, or a name for each column of a multilabel array."""
    if problem_type == "classification":
        return tuple(_names(np.unique(y)).tolist())
    return tuple(map(str, range(y.shape[1]))) if problem_type == "multilabel" else ()


def _names(y: np.ndarray) -> np.ndarray:
    """Return classes, which may be numbers, as the names that heads know them by."""
    return np.array([str(label) for label in y.tolist()], dtype=np.str_)
