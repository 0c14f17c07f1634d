"""Hugging Face classifiers and regressors: (model, tokenizer) and (model, image processor)."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from ..errors import DataError, ModelError
from .torch_module import TorchModule

__all__ = ["ImageTransformer", "TextTransformer"]

# Families whose head reads the last position of the batch, and so must be padded on the left.
PADDED_LEFT = frozenset({"xlnet"})
NO_LIMIT = 10**9  # tokenizers without a limit of their own say 1e30


class TextTransformer(TorchModule):
    """A sequence classifier or regressor with its tokenizer, encoder or decoder.

    Samples are texts, pairs (tuples of two texts), lists of words, or what a tokenizer returns:
    a mapping with ``input_ids``, one a sample or one for all. Padding in ready-tokenized samples
    is removed, by their attention mask, and set anew on the right whatever the tokenizer's
    ``padding_side`` is: absolute positions then count from the first real token, so that results
    do not depend on which samples share a batch.

    Without a pad token that tokenizer and model config agree on, samples run one at a time.

    Parameters
    ----------
    model : PreTrainedModel
    tokenizer : PreTrainedTokenizerBase
    **options
        Of `TorchModule`.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, **options: Any) -> None:
        super().__init__(model, **options)
        self.tokenizer = tokenizer
        self._accepted = frozenset(inspect.signature(self.module.forward).parameters) - {"labels"}
        config: Any = self.module.config
        self._pads_left = config.model_type in PADDED_LEFT
        self._max_length = max_length(self.module, tokenizer)
        self._pad_values = {
            "input_ids": tokenizer.pad_token_id,
            "token_type_ids": tokenizer.pad_token_type_id,
        }
        if tokenizer.pad_token_id is None or tokenizer.pad_token_id != config.pad_token_id:
            warnings.warn(
                f"the pad token of the tokenizer ({tokenizer.pad_token_id}) and of the model's "
                f"config ({config.pad_token_id}) must be set and equal to run batches; samples "
                "run one at a time. Set model.config.pad_token_id = tokenizer.pad_token_id",
                stacklevel=3,
            )
            self.batch_size = 1

    def _prepare(self, window: Any, offset: int) -> tuple[Any, np.ndarray]:
        rows = as_rows(window)
        encoded = self._encode(rows, offset)
        lengths = np.array([len(row["input_ids"]) for row in encoded])
        if (lengths == 0).any():
            raise DataError(f"sample {offset + int(lengths.argmin())} has no tokens")
        # Equal lengths together, so that little is padded; the longest first, so that memory
        # runs out at once or never.
        order = np.argsort(-lengths, kind="stable")
        return [encoded[i] for i in order], order

    def _encode(self, rows: list[Any], offset: int) -> list[dict[str, list[int]]]:
        """Return the tokens of texts, without padding."""
        kinds = [kind_of(row) for row in rows]
        for i, kind in enumerate(kinds):
            if kind is None or kind != kinds[0]:
                raise DataError(
                    f"sample {offset + i} is {type(rows[i]).__name__}; expected all texts, all "
                    "pairs (tuples of two texts), all lists of words, or all with input_ids"
                )
        if kinds[0] == "tokens":
            return [self._unpadded(row, offset + i) for i, row in enumerate(rows)]
        options: dict[str, Any] = {"truncation": True, "max_length": self._max_length}
        if self._max_length is None:
            options = {}
        if kinds[0] == "pair":
            columns = self.tokenizer(
                [row[0] for row in rows], text_pair=[row[1] for row in rows], **options
            )
        else:
            columns = self.tokenizer(
                [list(row) if kinds[0] == "words" else str(row) for row in rows],
                is_split_into_words=kinds[0] == "words",
                **options,
            )
        names = [name for name in columns if name in self._accepted]
        return [{name: columns[name][i] for name in names} for i in range(len(rows))]

    def _unpadded(self, row: Mapping[str, Any], position: int) -> dict[str, list[int]]:
        ids = np.asarray(row["input_ids"])
        if ids.ndim != 1:
            raise DataError(
                f"input_ids of sample {position} have shape {ids.shape}; expected one sequence"
            )
        real = np.asarray(row.get("attention_mask", np.ones(len(ids))), dtype=bool)
        per_token = {
            name: np.asarray(values)
            for name, values in row.items()
            if name in self._accepted and np.shape(values) == ids.shape
        }
        return {name: values[real].tolist() for name, values in per_token.items()}

    def _inputs(self, samples: Any) -> Any:
        length = max(len(sample["input_ids"]) for sample in samples)
        samples = [
            {**sample, "attention_mask": [1] * len(sample["input_ids"])} for sample in samples
        ]
        columns = {}
        for name in samples[0]:
            value = self._pad_values.get(name) or 0
            column = torch.full((len(samples), length), value, dtype=torch.long)
            for row, sample in enumerate(samples):
                n_tokens = len(sample[name])
                start = length - n_tokens if self._pads_left else 0
                column[row, start : start + n_tokens] = torch.tensor(sample[name])
            columns[name] = column
        return super()._inputs(columns)


class ImageTransformer(TorchModule):
    """An image classifier or regressor with its image processor.

    Samples are PIL images or arrays as the processor takes them, or a mapping with
    ``pixel_values`` as it returns them.

    Parameters
    ----------
    model : PreTrainedModel
    processor : image processor
    **options
        Of `TorchModule`.
    """

    def __init__(self, model: nn.Module, processor: Any, **options: Any) -> None:
        super().__init__(model, **options)
        self.processor = processor

    def _inputs(self, samples: Any) -> Any:
        ready = samples[0] if isinstance(samples, list) else samples
        if not isinstance(ready, Mapping):
            try:
                samples = self.processor(images=list(samples), return_tensors="pt")
            except (ValueError, TypeError) as error:
                raise DataError(f"the image processor refuses the samples: {error}") from error
            samples = {"pixel_values": samples["pixel_values"]}
        return super()._inputs(samples)


def as_rows(window: Any) -> list[Any]:
    """Return columns (of a tokenizer, or a tuple of text columns) as one row per sample."""
    if isinstance(window, Mapping):
        n_rows = len(next(iter(window.values())))
        return [{name: column[i] for name, column in window.items()} for i in range(n_rows)]
    if isinstance(window, tuple):
        return list(zip(*window, strict=True))
    return list(window)


def kind_of(row: Any) -> str | None:
    """Return the kind of a text sample; None for other samples."""
    if isinstance(row, str):
        return "text"
    if isinstance(row, Mapping):
        return "tokens" if "input_ids" in row else None
    if isinstance(row, Sequence) and row and all(isinstance(part, str) for part in row):
        if isinstance(row, tuple):
            return "pair" if len(row) == 2 else None
        return "words"
    return None


def max_length(model: nn.Module, tokenizer: Any) -> int | None:
    """Return the longest sequence that tokenizer and model allow; None without a limit."""
    limits = [tokenizer.model_max_length]
    config: Any = model.config
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and positions > 0:
        # RoBERTa's family starts to count positions behind its padding index.
        paddings = [
            getattr(part, "padding_idx", None)
            for name, part in model.named_modules()
            if name.endswith("position_embeddings")
        ]
        skipped = [padding + 1 for padding in paddings if padding is not None]
        limits.append(positions - max(skipped, default=0))
    limit = min(limits)
    if limit < 1:
        raise ModelError(f"tokenizer and config leave room for {limit} tokens; expected at least 1")
    return int(limit) if limit < NO_LIMIT else None
