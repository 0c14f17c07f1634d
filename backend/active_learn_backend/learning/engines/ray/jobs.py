"""Jobs of the cluster and their results: plain data that crosses processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from active_learn import ActiveSampler
from active_learn.partitioned import PoolSummary

from ....settings import Settings
from ...embedding.key_index import KeyArray
from .source import Source

__all__ = ["Embedded", "EmbeddingJob", "PartSelectionJob", "TrainingJob"]


@dataclass(frozen=True)
class EmbeddingJob:
    """Embed tasks into shards.

    Attributes
    ----------
    label_config : str
        The XML that names the fields of a task that are read.
    fingerprint : str
        What the encoder of each worker has to be.
    known : array of S16
        Ascending keys that are embedded already.
    in_background : bool
        Whether rounds go on meanwhile, which then need room on the cluster.
    """

    settings: Settings
    label_config: str
    source: Source
    shards: str
    fingerprint: str
    known: KeyArray
    in_background: bool = False


@dataclass(frozen=True)
class Embedded:
    """Result of a job.

    Attributes
    ----------
    failed : dict
        The parts of the error, by key, of contents that cannot be loaded.
    done : int
        Embeddings that lie in shards now.
    """

    failed: Mapping[str, Sequence[str]]
    done: int


@dataclass(frozen=True)
class PartSelectionJob:
    """Select the best candidates of each partition of a pool.

    Attributes
    ----------
    vectors : Path
        File of the project's embeddings, of ``n_features`` each.
    parts : sequence of ndarray of int64
        Of each partition its rows of the file of vectors.
    positions : sequence of ndarray of int64
        Of each partition the positions of its candidates in the pool.
    """

    sampler: ActiveSampler
    vectors: Path
    n_features: int
    parts: Sequence[npt.NDArray[np.int64]]
    positions: Sequence[npt.NDArray[np.int64]]
    summary: PoolSummary
    n: int


@dataclass(frozen=True)
class TrainingJob:
    """Run a program of ours that trains a model.

    Attributes
    ----------
    name : str
        Of this run, which no other has.
    arguments : sequence of str
        Of the cluster's Python.
    folders : dict
        By the name of its variable, a folder of this machine that the program reads.
    variables : dict
        The other variables of the training.
    output, checkpoints : Path
        Folders of this machine that take what the program writes.
    seconds, room_seconds : float
        How long it may run, and wait for room on the cluster.
    cpus, gpus : float
        What the cluster has to give it.
    """

    name: str
    arguments: Sequence[str]
    folders: Mapping[str, Path]
    variables: Mapping[str, str]
    output: Path
    checkpoints: Path
    seconds: float
    room_seconds: float
    cpus: float
    gpus: float
