"""The engine of one machine: this process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from active_learn import ActiveSampler, Ranking

from ..embedding.cache import Vectors
from ..embedding.embedder import TaskEmbedder
from ..selection.project_params import learned_task
from .base import Checkpoint, Engine, Failures, ProjectTasks
from .task_files import read_pages

__all__ = ["LocalEngine"]


class LocalEngine(Engine):
    """Computes here; of the embeddings only those that are ranked are in memory."""

    def fill(
        self,
        embedder: TaskEmbedder,
        tasks: ProjectTasks,
        checkpoint: Checkpoint,
        *,
        in_background: bool = False,
    ) -> Failures:
        return embedder.fill(tasks.keys, tasks.contents, checkpoint)

    def fill_from_files(
        self,
        embedder: TaskEmbedder,
        label_config: str,
        files: Sequence[Path],
        checkpoint: Checkpoint,
    ) -> Failures:
        task = learned_task(label_config, embedder.settings)
        failed: Failures = {}
        done = 0
        for file in files:
            for tasks in read_pages(file):
                contents = [task.content(data) for data in tasks]
                keys = [task.content_key(content) for content in contents]
                failed |= embedder.fill(
                    keys,
                    lambda some, page=contents: [page[at] for at in some],  # type: ignore[misc]
                )
                done += len(tasks)
                checkpoint(done, 0)
        return failed

    def vectors(self, embedder: TaskEmbedder, keys: Sequence[str]) -> Vectors:
        vectors: Vectors = embedder.vectors(keys)
        return vectors

    def rank(
        self, sampler: ActiveSampler, vectors: Vectors, pool: npt.NDArray[np.int64], n: int
    ) -> Ranking:
        return sampler.rank(vectors[pool], n)
