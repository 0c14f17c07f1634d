"""Embedding on the cluster with Ray Data: tasks are read by pages, encoders write shards."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from active_learn.errors import ActiveLearnError
from ray.data import ActorPoolStrategy, Datasource, ReadTask
from ray.data.block import BlockMetadata

from ....errors import EngineError
from ....labelstudio.client import Filter, LabelStudioClient
from ....labelstudio.config import parse_label_config
from ....labelstudio.content import ContentLoader
from ....settings import Settings
from ...embedding import CHUNK, load_encoder, longest_first
from ...key_index import read_keys
from ..files import read_pages
from .jobs import Embedded, EmbeddingJob, Source
from .shards import Shards

__all__ = ["embed_all"]

# Pages of Label Studio that are read at once: annotators work on it too.
READERS = 2
# A row is a page, and pages are handed out one by one, whatever their size.
BLOCK_BYTES = 1
Told = list[dict[str, Any]]
# Of each chunk: how many are done, and the key and the reason of each that failed. A reason without
# a key is why all of it ends.
TOLD = pa.schema([("key", pa.string()), ("reason", pa.string()), ("done", pa.int64())])
PAGES = pa.schema([("page", pa.large_string()), ("error", pa.string())])


def embed_all(job: EmbeddingJob) -> Embedded:
    """Embed all tasks of a source but the known ones.

    Raises
    ------
    EngineError
        With what an encoder or the source says in a worker.
    """
    settings = job.settings
    ray.data.DataContext.get_current().target_max_block_size = BLOCK_BYTES
    known = ray.put(job.known)
    pages = ray.data.read_datasource(
        Pages(job.source, settings),
        num_cpus=0,  # they wait for the network, and must not wait for the encoders
        concurrency=READERS,
        override_num_blocks=max(len(job.source.ranges), len(job.source.files)),
    )
    told = pages.map_batches(
        ShardEncoder,
        fn_constructor_args=(
            settings, job.label_config, job.source.project_id, job.shards, job.fingerprint, [known],
        ),
        batch_size=1,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(min_size=1, max_size=_encoders(settings)),
        num_cpus=settings.ray_cpus,
        num_gpus=settings.ray_gpus,
    )  # fmt: skip
    failed: dict[str, str] = {}
    done = 0
    for block in told.iter_batches(batch_size=None, batch_format="pyarrow"):
        for row in block.to_pylist():
            done += row["done"]
            if row["reason"] and not row["key"]:
                raise EngineError(row["reason"])
            if row["key"]:
                failed[row["key"]] = row["reason"]
    return Embedded(failed, done)


def _encoders(settings: Settings) -> int:
    """Give how many encoders work at once."""
    if settings.ray_workers:
        return settings.ray_workers
    has, needs = ray.cluster_resources(), {"CPU": settings.ray_cpus, "GPU": settings.ray_gpus}
    fit = [int(has.get(name, 0.0) / amount) for name, amount in needs.items() if amount]
    return max(min(fit, default=1), 1)


class Pages(Datasource):
    """Tasks of Label Studio or of files: a row is a page, the JSON of a list of their data."""

    def __init__(self, source: Source, settings: Settings) -> None:
        super().__init__()
        reads = [partial(read_pages, file) for file in source.files] or [
            partial(_read_range, settings, source.project_id, *ids) for ids in source.ranges
        ]
        self._tasks = [ReadTask(partial(_as_rows, read), _unknown()) for read in reads]

    def estimate_inmemory_data_size(self) -> int | None:
        return None

    def get_read_tasks(self, *args: Any, **kwargs: Any) -> list[ReadTask]:
        return self._tasks


def _unknown() -> BlockMetadata:
    return BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)


def _read_range(
    settings: Settings, project_id: int, first: int, last: int
) -> Iterator[list[Mapping[str, Any]]]:
    client = LabelStudioClient(settings)
    try:
        between = [
            Filter("id", "greater_or_equal", "Number", first),
            Filter("id", "less_or_equal", "Number", last),
        ]
        for page in client.task_pages(project_id, include="id,data", filters=between):
            yield [task["data"] for task in page]
    finally:
        client.close()


def _as_rows(read: Callable[[], Iterator[list[Mapping[str, Any]]]]) -> Iterator[pa.Table]:
    """Give a row a page; an error of ours takes the place of the rest."""
    try:
        for page in read():
            yield pa.Table.from_pylist([{"page": json.dumps(page), "error": ""}], PAGES)
    except ActiveLearnError as error:
        yield pa.Table.from_pylist([{"page": "[]", "error": str(error)}], PAGES)


class ShardEncoder:
    """An encoder of the actor pool: embeds pages, and writes what it embedded.

    What it cannot do it tells in words, as a row: Ray would repeat what raises.
    """

    def __init__(
        self,
        settings: Settings,
        label_config: str,
        project_id: int,
        shards: str,
        fingerprint: str,
        known: Sequence[Any],
    ) -> None:
        import torch

        # The last bits of an embedding depend on it, and with them the order of near ties.
        torch.set_num_threads(max(1, int(settings.ray_cpus)))
        self._task = parse_label_config(label_config)
        self._known = ray.get(known[0])
        self._error = ""
        try:
            load = ContentLoader(settings, LabelStudioClient(settings)).load
            self._encoder = load_encoder(settings, self._task, load)
            self._shards = Shards(shards)
        except ActiveLearnError as error:
            self._error = str(error)
        except OSError as error:
            self._error = f"shards cannot be written to {shards}: {error}"
        else:
            if self._encoder.fingerprint != fingerprint:
                self._error = (
                    f"a worker of the cluster has the encoder {self._encoder.fingerprint}, the "
                    f"backend {fingerprint}; give all machines the same models and packages"
                )

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Embed the tasks of a page that are not known; tell what failed, and how many did not."""
        row = batch.to_pylist()[0]
        try:
            if reason := self._error or row["error"]:
                raise EngineError(reason)
            told = self._embed_page(json.loads(row["page"]))
        except ActiveLearnError as error:  # the encoder fails on all, or Label Studio is away
            told = [{"key": "", "reason": str(error), "done": 0}]
        return pa.Table.from_pylist(told, TOLD)

    def _embed_page(self, page: Sequence[Mapping[str, Any]]) -> Told:
        contents = [self._task.content(data) for data in page]
        by_key = {self._task.content_key(content): content for content in contents}
        keys = self._unknown(list(by_key))
        order = longest_first([by_key[key] for key in keys])
        told: Told = []
        for start in range(0, len(order), CHUNK):
            chunk = [keys[at] for at in order[start : start + CHUNK]]
            told += self._embed_chunk(chunk, by_key)
        return told

    def _unknown(self, keys: list[str]) -> list[str]:
        wanted = read_keys(bytes.fromhex("".join(keys)))
        at = np.searchsorted(self._known, wanted)
        inside = at < len(self._known)
        known = np.zeros(len(keys), bool)
        known[inside] = self._known[at[inside]] == wanted[inside]
        return [key for key, found in zip(keys, known, strict=True) if not found]

    def _embed_chunk(self, keys: list[str], by_key: Mapping[str, Mapping[str, Any]]) -> Told:
        # Of a page whose worker was lost, the chunks that it had finished are there.
        held = self._shards.held(keys)
        told: Told = [{"key": "", "reason": "", "done": len(held)}]
        keys = [key for key in keys if key not in held]
        if not keys:
            return told
        vectors, errors = self._encoder.encode([by_key[key] for key in keys])
        good = [row for row in range(len(keys)) if row not in errors]
        self._shards.write(keys, good, vectors[good])
        told.append({"key": "", "reason": "", "done": len(good)})
        return told + [
            {"key": keys[row], "reason": str(error), "done": 0} for row, error in errors.items()
        ]
