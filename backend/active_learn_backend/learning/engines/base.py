"""Interface of an engine: it embeds what is new for a round, ranks the pool, and trains."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from active_learn import ActiveSampler, Ranking

from ...errors import ContentError
from ...state.store import Project, Store
from ...state.tasks import read_contents
from ..embedding.cache import Vectors
from ..embedding.embedder import TaskEmbedder
from .command import Output, run_command

__all__ = ["Checkpoint", "Engine", "Failures", "ProjectTasks"]

# Is called with the numbers of tasks done and of all tasks; an error that it raises stops the work.
Checkpoint = Callable[[int, int], None]
# The reason, by key, of contents that cannot be loaded.
Failures = dict[str, ContentError]


@dataclass(frozen=True)
class ProjectTasks:
    """All tasks of a project, by id; their contents only when asked for.

    Attributes
    ----------
    ids : array of shape (n,), int64
        Ascending.
    keys : sequence of str, length n
        Digests of what the encoder reads of each.
    """

    project: Project
    ids: npt.NDArray[np.int64]
    keys: Sequence[str]
    store: Store

    def contents(self, at: Sequence[int]) -> list[Mapping[str, Any]]:
        """Read what the encoder reads of the tasks at some positions."""
        ids = [int(self.ids[position]) for position in at]
        found = read_contents(self.store, self.project.id, ids)
        return [found.get(task_id, {}) for task_id in ids]


class Engine(ABC):
    """Embeds tasks, ranks pools and trains models."""

    @abstractmethod
    def fill(
        self,
        embedder: TaskEmbedder,
        tasks: ProjectTasks,
        checkpoint: Checkpoint,
        *,
        in_background: bool = False,
    ) -> Failures:
        """Put the embeddings of all tasks into the embedder's cache, computing what it lacks.

        Parameters
        ----------
        in_background : bool
            Whether rounds go on meanwhile, which must find room.
        """

    @abstractmethod
    def fill_from_files(
        self,
        embedder: TaskEmbedder,
        label_config: str,
        files: Sequence[Path],
        checkpoint: Checkpoint,
    ) -> Failures:
        """Put the embeddings of the tasks of some files into the embedder's cache.

        Parameters
        ----------
        label_config : str
            The XML that names the fields of a task that are read.
        files : sequence of Path
            As Label Studio imports them, see `read_pages`.
        checkpoint : callable
            The number of all tasks is not known, and passed as 0.

        Raises
        ------
        DataError
            With file and line, when one cannot be read.
        """

    @abstractmethod
    def vectors(self, embedder: TaskEmbedder, keys: Sequence[str]) -> Vectors:
        """Return cached embeddings of shape (n, d)."""

    @abstractmethod
    def rank(
        self, sampler: ActiveSampler, vectors: Vectors, pool: npt.NDArray[np.int64], n: int
    ) -> Ranking:
        """Order the tasks at the positions ``pool`` by the worth of labeling them: the best n."""

    def train(
        self,
        command: str | Sequence[str],
        environment: Mapping[str, str],
        output: Output,
        seconds: float,
        stopping: threading.Event,
        *,
        folder: Path,
    ) -> None:
        """Run a training to its end; see `run_command` for arguments and errors.

        Parameters
        ----------
        environment : mapping
            Of `training_environment`; names the folders of the training.

        Raises
        ------
        EngineError
            When what runs it elsewhere went away; it can be taken up.
        """
        run_command(command, environment, output, seconds, stopping, folder=folder)
