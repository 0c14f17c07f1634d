"""Heads: linear models trained on the embeddings of labeled samples; one file per problem type.

The one family of heads: rounds, replays and the published tables all train them by `fit_head`.
"""

from .base import Answer, Head, ProblemType
from .files import head_name, prune_heads, round_of_head, saved_heads
from .metadata import ClassWeight, HeadConfig
from .multinomial import MultinomialHead
from .one_vs_rest import OneVsRestHead
from .ridge import RidgeHead
from .trained import TrainedHead, fit_head, load_head, load_heads, save_heads

__all__ = [
    "Answer",
    "ClassWeight",
    "Head",
    "HeadConfig",
    "MultinomialHead",
    "OneVsRestHead",
    "ProblemType",
    "RidgeHead",
    "TrainedHead",
    "fit_head",
    "head_name",
    "load_head",
    "load_heads",
    "prune_heads",
    "round_of_head",
    "save_heads",
    "saved_heads",
]
