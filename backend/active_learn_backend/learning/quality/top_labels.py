"""The likeliest labels of a task, as the head answers on cached embeddings.

Nothing is embedded here and no encoder is loaded, so it is fast enough for a page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from active_learn.heads import TrainedHead
from active_learn.heads.base import FloatArray
from active_learn.heads.hyperparameters import probabilities

from ..embedding.cache import EmbeddingCache

__all__ = ["TopLabel", "top_labels"]


@dataclass(frozen=True)
class TopLabel:
    """One of the likeliest answers of a head.

    Attributes
    ----------
    label : str
        In regression the number, rounded.
    probability : float or None
        None in regression.
    control : str
        Name of the control.
    """

    label: str
    probability: float | None
    control: str = ""


def top_labels(
    folder: Path, head: TrainedHead, keys: Sequence[str], control: str = ""
) -> Mapping[str, tuple[TopLabel, ...]]:
    """Return the likeliest labels of some tasks.

    Parameters
    ----------
    folder : Path
        The project's, with its ``embeddings``.
    keys : sequence of str
        Digests of the tasks' contents.
    control : str
        Name of the control that the head answers for.

    Returns
    -------
    mapping
        By key, of tasks whose embedding is cached: in classification the two likeliest classes,
        in multilabel the two labels whose presence is least certain, in regression the prediction.
    """
    cached = folder / "embeddings" / head.metadata.config.encoder
    if not keys or not head.metadata.config.encoder or not cached.is_dir():
        return {}
    cache = EmbeddingCache(cached, head.n_features)
    missing = {keys[at] for at in cache.missing(keys)}
    known = [key for key in dict.fromkeys(keys) if key not in missing]
    if not known:
        return {}
    return dict(zip(known, _top_labels(head, cache.get(known), control), strict=True))


def _top_labels(head: TrainedHead, vectors: FloatArray, control: str) -> list[tuple[TopLabel, ...]]:
    if head.problem_type == "regression":
        return [
            (TopLabel(f"{answer.label:.3g}", None, control),) for answer in head.predict(vectors)
        ]
    several = head.problem_type == "multilabel"
    shares = probabilities(head.outputs(vectors), "sigmoid" if several else "softmax")
    order = np.argsort(np.abs(shares - 0.5) if several else -shares, axis=1, kind="stable")[:, :2]
    return [
        tuple(TopLabel(head.classes[k], float(row[k]), control) for k in first)
        for row, first in zip(shares, order, strict=True)
    ]
