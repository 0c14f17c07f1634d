"""Heads: what learns from the embeddings of labeled tasks; one file per problem type."""

from .base import Answer, Head, ProblemType
from .files import prune_heads, saved_heads
from .multinomial import MultinomialHead
from .one_vs_rest import OneVsRestHead
from .ridge import RidgeHead
from .trained import ClassWeight, TrainedHead, fit_head, load_head

__all__ = [
    "Answer",
    "ClassWeight",
    "Head",
    "MultinomialHead",
    "OneVsRestHead",
    "ProblemType",
    "RidgeHead",
    "TrainedHead",
    "fit_head",
    "load_head",
    "prune_heads",
    "saved_heads",
]
