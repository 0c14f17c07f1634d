"""TypiClust: the most typical sample of each cluster that has no label yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..selectors.kmeans import kmeans, squared_distances
from .base import Context, Selection, Strategy, register

__all__ = ["TypiClust"]

NEIGHBORS = 20
MAX_CLUSTERS = 500
BLOCK = 2048


@register
@dataclass(frozen=True)
class TypiClust(Strategy):
    """k-means into as many clusters as there are labels plus the budget, at most 500.

    Each pick comes from the cluster with the fewest labels and picks, the largest of those: its
    sample of the smallest mean distance to its 20 nearest neighbors in the cluster. Labeled data
    covers its clusters; the pool's covariance changes nothing. Not nested: the clusters depend on
    the budget. Holds the N d numbers of the embeddings.

    References
    ----------
    Hacohen, Dekel and Weinshall, "Active Learning on a Budget: Opposite Strategies Suit High and
    Low Budgets", ICML 2022, algorithm 1.
    """

    name: ClassVar[str] = "typiclust"
    takes_parts: ClassVar[bool] = True
    nested: ClassVar[bool] = False

    def rank_pool(self, context: Context) -> Selection:
        """Return one candidate per cluster in turn, then the others by typicality."""
        h, labeled = context.embeddings()
        everything = h if labeled is None else torch.cat([h, labeled])
        n_labeled = 0 if labeled is None else len(labeled)
        clusters = min(n_labeled + context.budget, MAX_CLUSTERS, len(everything))
        centers = kmeans(everything, clusters, context.rng)
        nearest = [squared_distances(b, centers).argmin(dim=1) for b in everything.split(BLOCK)]
        assigned = torch.cat(nearest)
        covered = torch.bincount(assigned[len(h) :], minlength=clusters).tolist()
        members = [(assigned[: len(h)] == c).nonzero()[:, 0] for c in range(clusters)]
        typical = torch.zeros(len(h), device=h.device)
        for rows in members:
            typical[rows] = typicality(h[rows])
        queues = [rows[torch.argsort(-typical[rows], stable=True)].tolist() for rows in members]
        return Selection.completed(
            *visit(queues, covered, typical.tolist(), min(context.budget, context.n)),
            typical,
            context.n,
        )


def typicality(h: torch.Tensor) -> torch.Tensor:
    """Return the inverse of the mean distance to the 20 nearest neighbors, (n,)."""
    neighbors = min(NEIGHBORS, len(h) - 1)
    if neighbors < 1:
        return torch.zeros(len(h), device=h.device)
    means = []
    for start in range(0, len(h), BLOCK):
        distance = squared_distances(h[start : start + BLOCK], h)
        distance.diagonal(offset=start).zero_()
        nearest = distance.topk(neighbors + 1, dim=1, largest=False).values[:, 1:]
        means.append(nearest.sqrt().mean(dim=1))
    return 1 / torch.cat(means).clamp_min(1e-12)


def visit(
    queues: list[list[int]], covered: list[int], typical: list[float], n: int
) -> tuple[list[int], list[float]]:
    """Return n heads of queues, each from the least covered and then largest cluster."""
    sizes = [len(queue) for queue in queues]
    picked: list[int] = []
    while len(picked) < n:
        open_clusters = [c for c, queue in enumerate(queues) if queue]
        cluster = min(open_clusters, key=lambda c: (covered[c], -sizes[c], c))
        covered[cluster] += 1
        picked.append(queues[cluster].pop(0))
    return picked, [typical[index] for index in picked]
