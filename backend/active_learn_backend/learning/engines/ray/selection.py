"""Round one of a partitioned selection on the cluster: each partition proposes its best."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import ray
from active_learn import ActiveSampler
from active_learn.partitioned import Anchors, Proposal, propose

from ...embedding.cache import read_rows
from .jobs import ProposalJob

__all__ = ["propose_all"]

AHEAD = 2  # partitions that wait in the object store, beside those under way


@ray.remote(num_cpus=1, max_retries=3)
def propose_part(
    sampler: ActiveSampler,
    vectors: npt.NDArray[np.float16],
    first: tuple[int, ...],
    anchors: Anchors,
    n: int,
) -> Proposal:
    """Propose the best of one partition, in a worker of the cluster."""
    import torch

    # The sums of a matrix product depend on how many threads share it: one each, everywhere.
    torch.set_num_threads(1)
    return propose(sampler, vectors, first, anchors, n)


def propose_all(job: ProposalJob) -> list[Proposal]:
    """Have all partitions propose, in order of the partitions.

    Few of them are in the object store at a time, so that neither this machine nor the cluster
    has to hold all vectors.
    """
    sampler, anchors = ray.put(job.sampler), ray.put(job.anchors)
    most = int(ray.cluster_resources().get("CPU", 1)) + AHEAD
    found: dict[int, Proposal] = {}
    under_way: dict[Any, int] = {}
    for at, (rows, first) in enumerate(job.parts):
        if len(under_way) >= most:
            found |= _next(under_way)
        vectors = ray.put(read_rows(job.vectors, job.n_features, rows))
        under_way[propose_part.remote(sampler, vectors, first, anchors, job.n)] = at
    while under_way:
        found |= _next(under_way)
    return [found[at] for at in range(len(job.parts))]


def _next(under_way: dict[Any, int]) -> dict[int, Proposal]:
    """Wait for one of them."""
    ready, _ = ray.wait(list(under_way))
    return {under_way.pop(ref): ray.get(ref) for ref in ready}
