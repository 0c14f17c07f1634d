"""The base of the heads that answer once a task, which are linear; `fit_head` trains one."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from threadpoolctl import threadpool_limits

from ..errors import DataError
from .base import FloatArray, Head, ProblemType, checked_weights
from .files import head_name, head_path, write_file
from .hyperparameters import Hyperparameters
from .metadata import ClassWeight, HeadConfig, HeadMetadata
from .random_cosines import N_COSINES

if TYPE_CHECKING:
    from ..models import EmbeddingHead

__all__ = [
    "REGISTRY",
    "TrainedHead",
    "fit_head",
]

REGISTRY: dict[ProblemType, type[TrainedHead]] = {}


class TrainedHead(Head):
    """A linear layer on embeddings, or on random cosines of them, trained again in every round.

    Parameters
    ----------
    metadata : HeadMetadata
    weight : array of shape (K, d), float32
        One row for each class; one in regression. d is that of the embeddings, or the number of
        random cosines.
    bias : array of shape (K,), float32
    round : int

    Raises
    ------
    DataError
        When shapes do not fit each other, or a number is not finite.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        REGISTRY[cls.problem_type] = cls

    def __init__(
        self, metadata: HeadMetadata, weight: FloatArray, bias: FloatArray, round: int
    ) -> None:
        self.metadata, self.round = metadata, round
        self.labels_offered = metadata.config.labels_offered
        self.classes = metadata.classes
        n_outputs = len(self.classes) or 1
        self.weight, self.bias = checked_weights(weight, bias, n_outputs)
        self.cosines = metadata.cosines
        if self.cosines and self.weight.shape[1] != N_COSINES:
            raise DataError(
                f"the weight of a head on random cosines has shape {self.weight.shape}; "
                f"expected ({n_outputs}, {N_COSINES})"
            )
        self.n_features = metadata.n_features or self.weight.shape[1]

    @property
    def version(self) -> str:
        return head_name(self.round)

    @classmethod
    @abstractmethod
    def fit(
        cls,
        config: HeadConfig,
        embeddings: FloatArray,
        labels: Sequence[Any],
        *,
        round: int,
        hyperparameters: Hyperparameters | None = None,
        start: Self | None = None,
        random_state: int = 0,
    ) -> Self | None:
        """Train on checked embeddings; see `fit_head`.

        Parameters
        ----------
        hyperparameters : Hyperparameters, optional
            Made when omitted.
        start : Self, optional
            Where to start from.
        """

    def refit(self, embeddings: FloatArray, labels: Sequence[Any]) -> Self | None:
        """Train a head of the same config and hyperparameters on other labels, from zero."""
        with threadpool_limits(1, user_api="blas"):
            return type(self).fit(
                self.metadata.config,
                embeddings,
                labels,
                round=self.round,
                hyperparameters=self.metadata.hyperparameters,
            )

    def reads(self, encoder: str, n_features: int) -> bool:
        """Return whether the head was trained on embeddings of this encoder."""
        return (self.metadata.config.encoder, self.n_features) == (encoder, n_features)

    def rows_of(self, classes: Sequence[str]) -> tuple[FloatArray, FloatArray]:
        """Return weight and bias for these classes; zeros for unknown classes."""
        weight = np.zeros((len(classes), self.n_features), np.float32)
        bias = np.zeros(len(classes), np.float32)
        known = {name: row for row, name in enumerate(self.classes)}
        for row, name in enumerate(classes):
            if name in known:
                weight[row], bias[row] = self.weight[known[name]], self.bias[known[name]]
        return weight, bias

    def save(self, folder: Path) -> None:
        """Write ``head-<round>.safetensors`` into a folder, completely or not at all."""
        stored = {"": (self.metadata.model_dump_json(), self.weight, self.bias)}
        write_file(head_path(folder, self.round), stored)

    def sampler_model(self) -> EmbeddingHead:
        """Return the calibrated head: the sampler sees the probabilities that annotators see.

        It ranks by the embeddings, whether or not the head is linear in them.
        """
        # Imports torch, which takes seconds: reading and listing heads works without it.
        from ..models import LinearHead, NonlinearHead

        if self.cosines:
            return NonlinearHead(self.outputs, self.n_features, len(self.weight))
        temperature = self.metadata.hyperparameters.temperature
        return LinearHead(self.weight / temperature, self.bias / temperature)

    def outputs(self, vectors: FloatArray) -> FloatArray:
        """Compute calibrated logits, or predictions in regression, (n, K) for embeddings (n, d)."""
        features = np.asarray(vectors, np.float32)
        if self.cosines:
            features = self.cosines(features)
        logits = features @ self.weight.T + self.bias
        return logits / np.float32(self.metadata.hyperparameters.temperature)


def fit_head(
    problem_type: ProblemType,
    labels_offered: Sequence[str],
    embeddings: FloatArray,
    labels: Sequence[Any],
    *,
    round: int,
    former: Head | None = None,
    class_weight: ClassWeight = "none",
    bounds: tuple[float, float] | None = None,
    encoder: str = "",
    random_state: int = 0,
) -> TrainedHead | None:
    """Train a head on labeled embeddings.

    Labels that the config does not offer (any more) are left out.

    Parameters
    ----------
    problem_type : {'classification', 'regression', 'multilabel'}
    labels_offered : sequence of str
        The labels of the config, in its order; empty in regression.
    embeddings : array of shape (n, d)
    labels : sequence of length n
        str, list of str, or number.
    round : int
        The round that trains it; live answers have the version ``head-<round>``.
    former : Head, optional
        That of the last round. Training starts from it, and its penalty and temperature are kept
        until there are a quarter more labels than they were chosen on, which saves the
        cross-validation in most rounds. Ignored when its problem type or encoder is another one.
    class_weight : {'none', 'balanced'}
    bounds : (float, float), optional
        Least and greatest answer in regression.
    encoder : str
        Fingerprint of what made the embeddings.
    random_state : int
        Seed of the folds.

    Returns
    -------
    TrainedHead or None
        None while there is nothing to learn: only one class, no label that some samples have and
        others do not, fewer than two numbers.

    Raises
    ------
    DataError
        When embeddings and labels do not fit each other, or a number is not finite.
    """
    embeddings = np.asarray(embeddings, np.float32)
    if embeddings.ndim != 2 or len(embeddings) != len(labels):
        raise DataError(
            f"embeddings have shape {embeddings.shape} for {len(labels)} labels; "
            "expected one row for each label"
        )
    if not np.isfinite(embeddings).all():
        raise DataError("embeddings hold NaN or infinity; check the encoder")
    kind = REGISTRY[problem_type]
    if not (isinstance(former, kind) and former.reads(encoder, embeddings.shape[1])):
        former = None
    config = HeadConfig(
        labels_offered=tuple(labels_offered),
        class_weight=class_weight,
        bounds=bounds,
        encoder=encoder,
    )
    lasts = former is not None and former.metadata.hyperparameters.lasts(len(labels))
    # One BLAS thread: on problems of this size a second one gains nothing on an idle machine,
    # and on a busy one (Label Studio runs beside us) waiting for it takes 50 times as long.
    with threadpool_limits(1, user_api="blas"):
        return kind.fit(
            config,
            embeddings,
            labels,
            round=round,
            hyperparameters=former.metadata.hyperparameters
            if former is not None and lasts
            else None,
            start=former,
            random_state=random_state,
        )
