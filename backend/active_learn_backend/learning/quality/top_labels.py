"""The labels that a task would settle: the likeliest answers of the head, from cached embeddings.

Nothing is embedded here and no encoder is loaded, so it is cheap enough for a page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from active_learn.heads import TrainedHead
from active_learn.heads.base import FloatArray
from active_learn.heads.calibration import probabilities

from ..embedding.cache import EmbeddingCache

__all__ = ["Rival", "find_rivals"]


@dataclass(frozen=True)
class Rival:
    """An answer that the head holds possible.

    Attributes
    ----------
    label : str
        In regression the number, rounded.
    probability : float or None
        None in regression.
    """

    label: str
    probability: float | None


def find_rivals(
    folder: Path, head: TrainedHead, keys: Sequence[str]
) -> Mapping[str, tuple[Rival, ...]]:
    """Find what each task would settle.

    Parameters
    ----------
    folder : Path
        The project's, with its ``embeddings``.
    keys : sequence of str
        Digests of the tasks' contents.

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
    return dict(zip(known, _rivals(head, cache.get(known)), strict=True))


def _rivals(head: TrainedHead, vectors: FloatArray) -> list[tuple[Rival, ...]]:
    if head.problem_type == "regression":
        return [(Rival(f"{answer.label:.3g}", None),) for answer in head.predict(vectors)]
    several = head.problem_type == "multilabel"
    shares = probabilities(head.outputs(vectors), "sigmoid" if several else "softmax")
    order = np.argsort(np.abs(shares - 0.5) if several else -shares, axis=1, kind="stable")[:, :2]
    return [
        tuple(Rival(head.classes[k], float(row[k])) for k in first)
        for row, first in zip(shares, order, strict=True)
    ]
