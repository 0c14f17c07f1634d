"""Round one of a partitioned selection on the cluster: the best of each partition."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import ray
from active_learn import ActiveSampler
from active_learn.partitioned import PartSelection, PoolSummary, select_part

from ...embedding.cache import read_rows
from .jobs import PartSelectionJob

__all__ = ["select_parts"]

AHEAD = 2  # partitions that wait in the object store, beside those under way


@ray.remote(num_cpus=1, max_retries=3)
def select_part_remotely(
    sampler: ActiveSampler,
    vectors: npt.NDArray[np.float16],
    summary: PoolSummary,
    n: int,
    positions: npt.NDArray[np.int64],
) -> PartSelection:
    """Return the best of one partition, in a worker of the cluster."""
    import torch

    # The sums of a matrix product depend on how many threads share it: one each, everywhere.
    torch.set_num_threads(1)
    return select_part(sampler, vectors, summary, n, positions)


def select_parts(job: PartSelectionJob) -> list[PartSelection]:
    """Return the selections of all partitions, in their order.

    Only a few partitions are in the object store at a time, so that neither this machine nor the
    cluster has to hold all vectors.
    """
    sampler, summary = ray.put(job.sampler), ray.put(job.summary)
    most = int(ray.cluster_resources().get("CPU", 1)) + AHEAD
    found: dict[int, PartSelection] = {}
    under_way: dict[Any, int] = {}
    for at, rows in enumerate(job.parts):
        if len(under_way) >= most:
            found |= _next(under_way)
        vectors = ray.put(read_rows(job.vectors, job.n_features, rows))
        task = select_part_remotely.remote(sampler, vectors, summary, job.n, job.positions[at])
        under_way[task] = at
    while under_way:
        found |= _next(under_way)
    return [found[at] for at in range(len(job.parts))]


def _next(under_way: dict[Any, int]) -> dict[int, PartSelection]:
    """Return the result of the next one that is done, by its number."""
    ready, _ = ray.wait(list(under_way))
    return {under_way.pop(ref): ray.get(ref) for ref in ready}
