"""Models: one file per kind, each turned into an `Adapter`."""

from .adapt import adapt
from .base import BLOCK_ROWS, Adapter, ModelOutput
from .batched import BatchedAdapter
from .embedding_heads import EmbeddingHead, LinearHead, NonlinearHead
from .pooled_tasks import PooledTasks, pool_parts
from .tagging_model import TaggingModel

__all__ = [
    "BLOCK_ROWS",
    "Adapter",
    "BatchedAdapter",
    "EmbeddingHead",
    "LinearHead",
    "ModelOutput",
    "NonlinearHead",
    "PooledTasks",
    "TaggingModel",
    "adapt",
    "pool_parts",
]
