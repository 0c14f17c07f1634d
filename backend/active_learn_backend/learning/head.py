"""The head: a linear classifier on cached embeddings, trained anew in every round."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from active_learn import LinearHead
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold
from threadpoolctl import threadpool_limits

from ..errors import StoreError

__all__ = ["Head"]

FloatArray = npt.NDArray[np.float32]

INVERSE_PENALTIES = (1.0, 10.0, 100.0)  # embeddings have unit-length parts: less would underfit
FOLDS = 3
LEAST_FOR_CROSS_VALIDATION = 12


class Head:
    """Multinomial logistic regression over the classes seen so far.

    Parameters
    ----------
    classes : sequence of str
        One per row of `weight`.
    weight : array of shape (K, d), float32
    bias : array of shape (K,), float32
    round : int
        The round that trained it; live answers bear ``head-<round>``.
    penalty : (float, int)
        Inverse L2 penalty, and the number of labels that it was chosen on.
    """

    def __init__(
        self,
        classes: Sequence[str],
        weight: FloatArray,
        bias: FloatArray,
        round: int,
        penalty: tuple[float, int] = (INVERSE_PENALTIES[1], 0),
    ) -> None:
        self.classes = tuple(classes)
        self.weight = np.asarray(weight, np.float32)
        self.bias = np.asarray(bias, np.float32)
        self.round = round
        self.penalty = penalty

    @property
    def version(self) -> str:
        """Name under which live answers are stored, never the project's current version."""
        return f"head-{self.round}"

    @classmethod
    def fit(
        cls,
        embeddings: FloatArray,
        labels: Sequence[str],
        *,
        round: int,
        former: Head | None = None,
        random_state: int = 0,
    ) -> Head | None:
        """Train on labeled embeddings.

        Parameters
        ----------
        embeddings : array of shape (n, d)
        labels : sequence of str, length n
        former : Head, optional
            The last round's. Its penalty is kept until there are a quarter more labels than it
            was chosen on, which saves the cross-validation in most rounds.

        Returns
        -------
        Head or None
            None while fewer than two classes are seen: there is nothing to tell apart.
        """
        classes, targets = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
        if len(classes) < 2:
            return None
        # One BLAS thread: on problems of this size a second one gains nothing on an idle machine,
        # and on a busy one (Label Studio runs beside us) waiting for it takes 50 times as long.
        with threadpool_limits(1, user_api="blas"):
            return cls._fit(embeddings, classes, targets, round, former, random_state)

    @classmethod
    def _fit(
        cls,
        embeddings: FloatArray,
        classes: npt.NDArray[np.str_],
        targets: npt.NDArray[np.int64],
        round: int,
        former: Head | None,
        random_state: int,
    ) -> Head:
        # An L2-penalized solution lies in the span of its rows: with fewer rows than features the
        # same problem is solved in their coordinates, at a fraction of the cost.
        basis = np.linalg.qr(embeddings.T)[0] if len(embeddings) < embeddings.shape[1] else None
        coordinates = embeddings if basis is None else embeddings @ basis
        penalty = former.penalty if former else (INVERSE_PENALTIES[1], 0)
        if len(targets) > 1.25 * penalty[1]:
            chosen = _choose_penalty(coordinates, targets, len(classes), random_state)
            penalty = (chosen, len(targets))
        model = LogisticRegression(C=penalty[0], max_iter=1000, tol=1e-4).fit(coordinates, targets)
        weight, bias = model.coef_, model.intercept_
        if basis is not None:
            weight = weight @ basis.T
        if len(classes) == 2:  # one row of a sigmoid is two rows of a softmax
            weight, bias = np.vstack([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
        return cls([str(name) for name in classes], weight, bias, round, penalty)

    def linear(self) -> LinearHead:
        """Give the head as the model that `ActiveSampler` reads."""
        return LinearHead(self.weight, self.bias)

    def predict(self, embeddings: FloatArray) -> list[tuple[str, float]]:
        """Likeliest class and its probability, for each row of an (n, d) array."""
        logits = embeddings @ self.weight.T + self.bias
        logits -= logits.max(axis=1, keepdims=True)
        probabilities = np.exp(logits)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        best = probabilities.argmax(axis=1)
        return [
            (self.classes[k], float(row[k])) for row, k in zip(probabilities, best, strict=True)
        ]

    # -- on disk ------------------------------------------------------------------------------

    def save(self, folder: Path) -> None:
        """Write ``head-<round>.safetensors`` into a folder, whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        data = save_tensors(
            {"weight": self.weight, "bias": self.bias},
            metadata={"classes": json.dumps(self.classes), "penalty": json.dumps(self.penalty)},
        )
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(file.name, folder / f"{self.version}.safetensors")

    @classmethod
    def load(cls, folder: Path, round: int) -> Head:
        """Read the head of one round.

        Raises
        ------
        StoreError
            When the file is missing or damaged.
        """
        path = folder / f"head-{round}.safetensors"
        try:
            data = path.read_bytes()
            tensors = load_tensors(data)
            metadata = _metadata(data)
            penalty, n_labels = json.loads(metadata["penalty"])
            return cls(
                json.loads(metadata["classes"]),
                tensors["weight"],
                tensors["bias"],
                round,
                (float(penalty), int(n_labels)),
            )
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise StoreError(
                f"the head {path.name} cannot be read ({error}); the next round trains a new one"
            ) from error

    @staticmethod
    def saved(folder: Path) -> list[int]:
        """Rounds whose heads are kept, newest first."""
        rounds = [path.stem.removeprefix("head-") for path in folder.glob("head-*.safetensors")]
        return sorted((int(number) for number in rounds if number.isdigit()), reverse=True)

    @classmethod
    def prune(cls, folder: Path, keep: int) -> None:
        """Remove all but the newest `keep` heads."""
        for number in cls.saved(folder)[keep:]:
            (folder / f"head-{number}.safetensors").unlink(missing_ok=True)


def _metadata(data: bytes) -> dict[str, Any]:
    """Read the metadata of a safetensors file: 8 bytes of length, then JSON."""
    length = int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8 : 8 + length])["__metadata__"]
    return header


def _choose_penalty(
    embeddings: FloatArray, targets: npt.NDArray[np.int64], n_classes: int, random_state: int
) -> float:
    """Choose the inverse L2 penalty by the cross-validated log-likelihood."""
    if len(targets) < LEAST_FOR_CROSS_VALIDATION:
        return INVERSE_PENALTIES[1]
    scores = np.zeros(len(INVERSE_PENALTIES))
    for train, test in KFold(FOLDS, shuffle=True, random_state=random_state).split(embeddings):
        seen = np.unique(targets[train])
        if len(seen) < 2:
            continue
        for index, penalty in enumerate(INVERSE_PENALTIES):
            model = LogisticRegression(C=penalty, max_iter=300, tol=1e-3)
            model.fit(embeddings[train], targets[train])
            full = np.full((len(test), n_classes), 1e-3)  # classes that the fold has not seen
            full[:, seen] = np.maximum(model.predict_proba(embeddings[test]), 1e-3)
            scores[index] += np.log(full[np.arange(len(test)), targets[test]]).sum()
    return INVERSE_PENALTIES[int(scores.argmax())]
