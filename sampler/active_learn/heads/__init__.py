"""Heads: linear models trained on the embeddings of labeled samples; one file per problem type.

The one family of heads: rounds, replays and the published tables all train them by `fit_head`, and
for tasks that are made of parts by `fit_tagging_head`.
"""

from .base import Answer, Head, ProblemType
from .files import head_name, prune_heads, round_of_head, saved_heads
from .metadata import ClassWeight, HeadConfig
from .multinomial import MultinomialHead
from .nested import NestedTaggingHead, TrainedTagger
from .one_vs_rest import OneVsRestHead
from .overlaps import Relation, relation_between
from .ridge import RidgeHead
from .saved import SavedHead, load_head, load_heads, save_heads
from .tagging import OUTSIDE, PartTagger, Run, Tagging, TaggingHead, taggings
from .tagging_training import fit_tagging_head
from .trained import TrainedHead, fit_head

__all__ = [
    "OUTSIDE",
    "Answer",
    "ClassWeight",
    "Head",
    "HeadConfig",
    "MultinomialHead",
    "NestedTaggingHead",
    "OneVsRestHead",
    "PartTagger",
    "ProblemType",
    "Relation",
    "RidgeHead",
    "Run",
    "SavedHead",
    "Tagging",
    "TaggingHead",
    "TrainedHead",
    "TrainedTagger",
    "fit_head",
    "fit_tagging_head",
    "head_name",
    "load_head",
    "load_heads",
    "prune_heads",
    "relation_between",
    "round_of_head",
    "save_heads",
    "saved_heads",
    "taggings",
]
