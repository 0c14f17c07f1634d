"""The engine of a Ray cluster, as the worker sees it."""

from __future__ import annotations

import fcntl
import secrets
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
from active_learn import ActiveSampler, Ranking
from active_learn.partitioned import Partitioning, decide

from ....errors import ContentError, EngineError
from ....settings import Settings
from ...embedding.cache import CachedVectors, Vectors
from ...embedding.embedder import CHUNK, Progress, TaskEmbedder
from ..base import Checkpoint, Engine, Failures, ProjectTasks
from ..command import Output, run_command
from .driver import ray_driver
from .jobs import EmbeddingJob, PartSelectionJob, TrainingJob
from .shards import Intake, Shards
from .source import Source

__all__ = ["RayEngine"]

READ = ("TRAIN_DATA", "TRAIN_FROM")  # variables that name what a training reads
LEAST_WAIT = 120.0  # seconds: a worker of the cluster takes long to start
CHANGED = "it changed in Label Studio after it was listed; the next round reads it again"


class RayEngine(Engine):
    """Embeds and ranks on a Ray cluster; what is small is done here.

    Embeddings are left in shards by the workers of the cluster, and taken into the project's cache
    as they come. A pool is ranked in partitions, whose number depends on its size alone.

    Parameters
    ----------
    settings : Settings
        Uses ``ray_address``, ``ray_shards``, ``ray_train_cpus``, ``ray_train_gpus``,
        ``partition_rows`` and ``model_dir``; what encoders go by is the settings of the project.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._driver = ray_driver(settings.ray_address, settings.model_dir.resolve() / "ray.log")

    def fill(
        self,
        embedder: TaskEmbedder,
        tasks: ProjectTasks,
        checkpoint: Checkpoint,
        *,
        in_background: bool = False,
    ) -> Failures:
        missing = embedder.cache.missing(tasks.keys)
        if len(missing) <= CHUNK:  # an encoder takes longer to start than to embed so few
            return embedder.fill(tasks.keys, tasks.contents, checkpoint)
        progress = Progress(len(missing))

        def report(done: int) -> None:
            checkpoint(min(done, len(missing)), len(missing))
            progress.tell(done)

        source = Source.of_project(tasks.project.id, tasks.ids.tolist(), missing)
        config = tasks.project.label_config
        failed = self._embed(embedder, source, config, report, in_background=in_background)
        left = [tasks.keys[at] for at in embedder.cache.missing(tasks.keys)]
        return dict.fromkeys(left, ContentError(CHANGED)) | failed

    def fill_from_files(
        self,
        embedder: TaskEmbedder,
        label_config: str,
        files: Sequence[Path],
        checkpoint: Checkpoint,
    ) -> Failures:
        source = Source(embedder.project_id, files=[file.resolve() for file in files])
        return self._embed(embedder, source, label_config, lambda done: checkpoint(done, 0))

    def vectors(self, embedder: TaskEmbedder, keys: Sequence[str]) -> Vectors:
        return embedder.cache.vectors(keys)

    def rank(
        self, sampler: ActiveSampler, vectors: Vectors, pool: npt.NDArray[np.int64], n: int
    ) -> Ranking:
        partitions = -(-len(pool) // self._settings.partition_rows)
        if partitions <= 1 or not isinstance(vectors, CachedVectors):
            return sampler.rank(vectors[pool], n)
        rows = vectors.rows[pool]
        plan = Partitioning.draw(
            sampler, lambda at: vectors.read(rows[at]), len(pool), n, partitions
        )
        parts = [rows[part] for part in plan.parts]
        job = PartSelectionJob(
            sampler, vectors.path, vectors.shape[1], parts, plan.parts, plan.summary, plan.n
        )
        return decide(sampler, plan, self._driver.select_parts(job, lambda: None))

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
        if isinstance(command, str):  # the operator's own: it names what is on this machine
            run_command(command, environment, output, seconds, stopping, folder=folder)
            return
        own = {name: value for name, value in environment.items() if name.startswith("TRAIN_")}
        into, checkpoints = Path(own.pop("TRAIN_OUTPUT")), Path(own.pop("TRAIN_CHECKPOINT"))
        sent = {name: Path(own[name]) for name in READ if Path(own.get(name) or "/-").is_dir()}
        job = TrainingJob(
            secrets.token_hex(8),
            command[1:],
            sent,
            {name: value for name, value in own.items() if name not in sent},
            into,
            checkpoints,
            seconds,
            max(seconds, LEAST_WAIT),
            self._settings.ray_train_cpus,
            self._settings.ray_train_gpus,
        )
        self._driver.train(job, output, stopping)

    # -- pieces -------------------------------------------------------------------------------

    def _embed(
        self,
        embedder: TaskEmbedder,
        source: Source,
        label_config: str,
        checkpoint: Callable[[int], None],
        *,
        in_background: bool = False,
    ) -> Failures:
        """Have a source embedded, and take the shards in as they come."""
        with _alone(embedder):
            shards = Shards(self._shards_of(embedder))
            intake = Intake(shards, embedder.cache)
            intake.take()  # what a driver left that was killed
            intake.clear()
            shards.sweep()
            job = EmbeddingJob(
                embedder.settings,
                label_config,
                source,
                shards.where,
                embedder.fingerprint,
                np.sort(embedder.cache.keys()),
                in_background,
            )

            def meanwhile() -> None:
                intake.take()
                checkpoint(intake.count)

            result = self._driver.embed(job, meanwhile)
            intake.take()
            if intake.count < result.done:
                raise EngineError(
                    f"{result.done} embeddings were written on other machines, and {intake.count} "
                    "are seen here; set RAY_SHARDS to a folder or an address that all machines see"
                )
            intake.clear()
            return {key: ContentError.of(parts) for key, parts in result.failed.items()}

    def _shards_of(self, embedder: TaskEmbedder) -> str:
        if not self._settings.ray_shards:
            return str((embedder.cache.folder / "shards").resolve())
        base, question, options = self._settings.ray_shards.partition("?")
        folder = f"{embedder.project_id}/{embedder.fingerprint}"
        return f"{base.rstrip('/')}/{folder}{question}{options}"


@contextmanager
def _alone(embedder: TaskEmbedder) -> Iterator[None]:
    """Keep other processes from embedding a project on the cluster at the same time.

    Raises
    ------
    EngineError
        When one does.
    """
    with (embedder.cache.folder / "shards.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EngineError(
                f"another process embeds project {embedder.project_id} on Ray; let it end first"
            ) from error
        yield
