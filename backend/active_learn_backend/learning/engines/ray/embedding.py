"""Embedding on the cluster with Ray Data: tasks are read by pages, encoders write shards."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from active_learn.errors import ActiveLearnError, DataError, ModelError
from ray.data import ActorPoolStrategy

from ....errors import EngineError
from ....labelstudio.client import LabelStudioClient
from ....labelstudio.content_loader import ContentLoader
from ....settings import Settings
from ...embedding.embedder import CHUNK, load_encoder, longest_first
from ...embedding.key_index import read_keys
from ...selection.project_params import learned_task
from .jobs import Embedded, EmbeddingJob
from .pages import Pages
from .sent_models import SentModel, received, send_model
from .shards import Shards

__all__ = ["embed_all"]

# Pages of Label Studio that are read at once: annotators work on it too.
READERS = 2
ENCODER_CPUS = 1  # more encoders use more CPUs, and scale better than threads of one
# A row is a page, and pages are handed out one by one, of any size.
BLOCK_BYTES = 1


def embed_all(job: EmbeddingJob) -> Embedded:
    """Embed all tasks of a source but the known ones.

    Raises
    ------
    EngineError
        With the message of an encoder or of the source in a worker.
    ModelError
        When the team's own model fails there.
    SettingsError, OSError
        See `send_model`.
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
    report = pages.map_batches(
        ShardEncoder,
        fn_constructor_args=(
            settings, job.label_config, job.shards, job.fingerprint, [known], send_model(settings),
        ),
        batch_size=1,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(min_size=1, max_size=_encoders(job)),
        num_cpus=ENCODER_CPUS,
        num_gpus=settings.ray_gpus,
    )  # fmt: skip
    failed: dict[str, Sequence[str]] = {}
    done = 0
    for block in report.iter_batches(batch_size=None, batch_format="pyarrow"):
        for page in map(json.loads, block["report"].to_pylist()):
            if page["error"]:
                raise (ModelError if page["of_model"] else EngineError)(page["error"])
            failed |= page["failed"]
            done += page["done"]
    return Embedded(failed, done)


def _encoders(job: EmbeddingJob) -> int:
    """Return how many encoders work at once; beside the rounds they leave room for one."""
    settings = job.settings
    has, needs = ray.cluster_resources(), {"CPU": ENCODER_CPUS, "GPU": settings.ray_gpus}
    fit = min(int(has.get(name, 0.0) / amount) for name, amount in needs.items() if amount)
    wanted = settings.ray_workers or fit
    return max(min(wanted, fit - 1) if job.in_background else wanted, 1)


class ShardEncoder:
    """An encoder of the actor pool: embeds pages, and writes what it embedded.

    It returns an error in words, as a row: Ray would repeat a task that raises.
    """

    def __init__(
        self,
        settings: Settings,
        label_config: str,
        shards: str,
        fingerprint: str,
        known: Sequence[Any],
        sent: SentModel | None,
    ) -> None:
        import torch

        # The last bits of an embedding depend on it, and with them the order of near ties.
        torch.set_num_threads(ENCODER_CPUS)
        self._task = learned_task(label_config, settings)
        self._known = ray.get(known[0])
        self._error = ""
        try:
            load = ContentLoader(settings, LabelStudioClient(settings)).load
            with received(settings, sent) as with_model:
                self._encoder = load_encoder(with_model, self._task, load)
            self._shards = Shards(shards)
        except ActiveLearnError as error:
            self._error = str(error)
        else:
            if self._encoder.fingerprint != fingerprint:
                self._error = (
                    f"a worker of the cluster has the encoder {self._encoder.fingerprint}, the "
                    f"backend {fingerprint}; install on all machines the same models and packages"
                )

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Embed the tasks of a page that are not known; return how many, and which failed."""
        row = batch.to_pylist()[0]
        report: dict[str, Any] = {"error": self._error or row["error"], "of_model": False}
        if not report["error"]:
            try:
                report |= self._embed_page(json.loads(row["page"]))
            except ActiveLearnError as error:  # the encoder fails on all, or Label Studio is away
                report |= {
                    "error": str(error),
                    "of_model": isinstance(error, ModelError | DataError),
                }
        return pa.table({"report": [json.dumps(report)]})

    def _embed_page(self, page: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        contents = [self._task.content(data) for data in page]
        by_key = {self._task.content_key(content): content for content in contents}
        keys = self._unknown(list(by_key))
        order = longest_first([by_key[key] for key in keys])
        done = 0
        failed: dict[str, Sequence[str]] = {}
        for start in range(0, len(order), CHUNK):
            chunk = [keys[at] for at in order[start : start + CHUNK]]
            errors = self._embed_chunk(chunk, by_key)
            done += len(chunk) - len(errors)
            failed |= errors
        return {"done": done, "failed": failed}

    def _unknown(self, keys: list[str]) -> list[str]:
        wanted = read_keys(bytes.fromhex("".join(keys)))
        at = np.searchsorted(self._known, wanted)
        inside = at < len(self._known)
        known = np.zeros(len(keys), bool)
        known[inside] = self._known[at[inside]] == wanted[inside]
        return [key for key, found in zip(keys, known, strict=True) if not found]

    def _embed_chunk(
        self, keys: list[str], by_key: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Sequence[str]]:
        """Write the shard of a chunk; return the reason, by key, of what cannot be embedded."""
        # Of a page whose worker was lost, the chunks that it had finished are there.
        present = self._shards.present(keys)
        keys = [key for key in keys if key not in present]
        if not keys:
            return {}
        vectors, errors = self._encoder.encode([by_key[key] for key in keys])
        good = [row for row in range(len(keys)) if row not in errors]
        self._shards.write(keys, good, vectors[good])
        return {keys[row]: error.parts for row, error in errors.items()}
