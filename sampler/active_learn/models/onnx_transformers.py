"""Classifiers in ONNX files with what reads their samples: a tokenizer or an image processor.

Optimum exports Hugging Face models as such files, their inputs called as tokenizers call them.
"""

from __future__ import annotations

import os
from typing import Any, TypeAlias

import numpy as np
import torch
from onnx import ModelProto

from ..errors import ModelError
from .onnx_model import OnnxModel
from .pixel_batches import pixels_of
from .token_batches import TokenBatches
from .transformers_config import NO_LIMIT

__all__ = ["ImageOnnx", "TextOnnx"]

Source: TypeAlias = str | os.PathLike[str] | bytes | ModelProto
# Filled in without the tokenizer: no mask hides a token, and positions count from the first one.
MADE = ("attention_mask", "token_type_ids", "position_ids")


class TextOnnx(TokenBatches, OnnxModel):
    """A sequence classifier or regressor as an ONNX file, with its tokenizer.

    For its samples see `TokenBatches`. A file that takes one length only gets texts of that length.

    Parameters
    ----------
    source : str, path, bytes or ModelProto
    tokenizer : PreTrainedTokenizerBase
    **options
        Of `OnnxModel`.
    """

    def __init__(self, source: Source, tokenizer: Any, **options: Any) -> None:
        super().__init__(source, **options)
        self._made_from = (source, tokenizer), options
        names = {*tokenizer.model_input_names, *MADE}
        unknown = [name for name in self.input_names if name not in names]
        if "input_ids" not in self.input_names or unknown:
            raise ModelError(
                f"the ONNX model takes {', '.join(self.input_names)}; with a tokenizer expected "
                "inputs called as it calls them: input_ids, attention_mask, token_type_ids"
            )
        size = self._inputs[self.input_names.index("input_ids")].shape[1:]
        self._length = size[0] if size and isinstance(size[0], int) else None
        limit = min(tokenizer.model_max_length, self._length or NO_LIMIT)
        self._read_by(
            tokenizer,
            frozenset(self.input_names),
            limit if limit < NO_LIMIT else None,
            pads_left=False,
        )
        if "attention_mask" not in self.input_names:
            self._mixes_padding = True
        if tokenizer.pad_token_id is None or self.scales_by_batch:
            self._batch_size.fix(1, halves=True)

    @property
    def model_name(self) -> str:
        return "the ONNX model"

    def _eps(self) -> float:
        return torch.finfo(torch.float32).eps

    def _feed(self, samples: Any) -> dict[str, np.ndarray]:
        columns = self._padded(samples, self._length)
        ids = columns["input_ids"]
        columns.setdefault("token_type_ids", torch.zeros_like(ids))
        columns["position_ids"] = torch.arange(ids.shape[1]).expand_as(ids)
        return super()._feed(columns)


class ImageOnnx(OnnxModel):
    """An image classifier or regressor as an ONNX file, with its image processor.

    Samples are those of `ImageTransformer`.
    """

    def __init__(self, source: Source, processor: Any, **options: Any) -> None:
        super().__init__(source, **options)
        self._made_from = (source, processor), options
        self.processor = processor
        if len(self.input_names) > 1:
            raise ModelError(
                f"the ONNX model takes {', '.join(self.input_names)}; with an image processor "
                "expected one input, the pixels"
            )

    def _feed(self, samples: Any) -> dict[str, np.ndarray]:
        return super()._feed(pixels_of(self.processor, samples))
