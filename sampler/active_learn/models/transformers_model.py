"""Hugging Face classifiers and regressors: (model, tokenizer) and (model, image processor)."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from .pixel_batches import pixels_of
from .token_batches import TokenBatches
from .torch_module import TorchModule
from .transformers_config import accepted_inputs, max_length, padding_agrees, text_config

__all__ = ["ImageTransformer", "TextTransformer"]

# Families whose head reads the last position of the batch, and so must be padded on the left.
PADDED_LEFT = frozenset({"xlnet"})


class TextTransformer(TokenBatches, TorchModule):
    """A sequence classifier or regressor with its tokenizer, encoder or decoder.

    The model may also be a module of one's own around an encoder, whose ``forward`` calls its
    inputs as the tokenizer does, or a wrapper (PEFT). For its samples see `TokenBatches`.

    Without a pad token that tokenizer and model config agree on, samples run one at a time.

    Parameters
    ----------
    model : PreTrainedModel or nn.Module
    tokenizer : PreTrainedTokenizerBase
    **options
        Of `TorchModule`.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, **options: Any) -> None:
        super().__init__(model, **options)
        config = text_config(self.module)
        self._read_by(
            tokenizer,
            accepted_inputs(self.module, tokenizer),
            max_length(self.module, tokenizer),
            pads_left=getattr(config, "model_type", None) in PADDED_LEFT,
        )
        masked = "attention_mask" in self._accepted and tokenizer.pad_token_id is not None
        if config is None and not masked:
            self._mixes_padding = True
        if config is not None and not padding_agrees(config, tokenizer):
            expected = getattr(config, "pad_token_id", None)
            warnings.warn(
                f"the pad token of the tokenizer ({tokenizer.pad_token_id}) and of the model's "
                f"config ({expected}) must be set and equal to run batches; samples run one at a "
                "time. Set model.config.pad_token_id = tokenizer.pad_token_id",
                stacklevel=3,
            )
            self._batch_size.fix(1, halves=True)

    @property
    def model_name(self) -> str:
        return type(self.module).__name__

    def inputs(self, samples: Sequence[Any]) -> dict[str, torch.Tensor]:
        """Return what the model takes for samples, as one batch."""
        columns: dict[str, torch.Tensor] = self._inputs(self._encode(list(samples), 0))
        return columns

    def _eps(self) -> float:
        dtype = next((p.dtype for p in self.module.parameters() if p.is_floating_point()), None)
        return torch.finfo(dtype or torch.float32).eps

    def _inputs(self, samples: Any) -> Any:
        return super()._inputs(self._padded(samples))


class ImageTransformer(TorchModule):
    """An image classifier or regressor with its image processor.

    Samples are PIL images or arrays as the processor takes them, rows of a dataset (mappings) in
    which one value is an image, or a mapping with ``pixel_values`` as it returns them.

    Parameters
    ----------
    model : PreTrainedModel or nn.Module
        One whose ``forward`` has no ``pixel_values`` gets them as its first input.
    processor : image processor
    **options
        Of `TorchModule`.
    """

    def __init__(self, model: nn.Module, processor: Any, **options: Any) -> None:
        super().__init__(model, **options)
        self.processor = processor
        parameters = inspect.signature(self.module.forward).parameters.values()
        names = [p.name for p in parameters]
        self._by_name = "pixel_values" in names or any(p.kind is p.VAR_KEYWORD for p in parameters)

    def _inputs(self, samples: Any) -> Any:
        inputs = super()._inputs(pixels_of(self.processor, samples))
        return {"pixel_values": inputs} if self._by_name else inputs
