"""Lets a classifier of BERT's kind, which reads the first token, read the mean over all tokens.

Encoders of sentence-transformers are pooled by the mean, and the classifiers of Hugging Face
of this kind cannot be told to. One more layer can do it: with queries and keys of zero each token
attends to all tokens alike, so that the first one holds their mean. The result is an ordinary model
with one layer more, whose embeddings before training are those of the encoder.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

__all__ = ["KINDS", "average_tokens"]

KINDS = ("bert", "roberta", "xlm-roberta", "camembert")  # model types whose layers are BERT's
SCALE = 1000.0  # of the mean against the first token itself, which is added to it
SLOPE = 0.3  # of what goes into tanh, where it is nearly linear


def average_tokens(model: Any) -> None:
    """Set the weights of the last layer, and of the dense layer behind it, which must be new."""
    layer = model.base_model.encoder.layer[-1]
    attention = layer.attention
    pooler = model.base_model.pooler
    dense = model.classifier.dense if pooler is None else pooler.dense
    with torch.no_grad():
        for linear, factor in (
            (attention.self.query, 0.0),
            (attention.self.key, 0.0),
            (attention.self.value, 1.0),
            (attention.output.dense, SCALE),
            (layer.output.dense, 0.0),
            (dense, SLOPE),
        ):
            linear.weight.zero_()
            linear.bias.zero_()
            if linear.weight.shape[0] == linear.weight.shape[1]:
                linear.weight.copy_(factor * torch.eye(len(linear.weight)))
        for norm in (attention.output.LayerNorm, layer.output.LayerNorm):
            assert isinstance(norm, nn.LayerNorm)
            norm.weight.fill_(1.0)
            norm.bias.zero_()
