"""Texts as samples of a model that reads tokens: their batches, and the padding of these."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch

from ..errors import DataError, ModelError
from .base import ModelOutput
from .batched import BatchedAdapter
from .collate import described

__all__ = ["TokenBatches"]

# Relative difference of float32 results between batches that is none.
ROUNDING = 1e-4


class TokenBatches(BatchedAdapter):
    """Reads texts by a tokenizer, in batches of about equal length.

    Samples are texts, pairs (tuples of two texts), lists of words, or what a tokenizer returns:
    a mapping with ``input_ids``, one a sample or one for all; or rows of a dataset (mappings) in
    which one value is a text. Padding in ready-tokenized samples
    is removed, by their attention mask, and set anew on the right whatever the tokenizer's
    ``padding_side`` is: absolute positions then count from the first real token, so that results
    do not depend on which samples share a batch.

    Some models mix padding into their results (FNet, YOSO, ConvBERT, ...): of the first batch of
    different lengths three samples run alone too, and where they differ, samples of one length run
    together from then on.
    """

    def _read_by(
        self, tokenizer: Any, accepted: frozenset[str], max_length: int | None, pads_left: bool
    ) -> None:
        """Set the tokenizer, which of its columns the model takes, and how they are padded."""
        self.tokenizer = tokenizer
        self._accepted = accepted
        self._max_length = max_length
        self._pads_left = pads_left
        self._pad_values = {
            "input_ids": tokenizer.pad_token_id,
            "token_type_ids": tokenizer.pad_token_type_id,
        }
        # Whether padding changes results; None until two lengths meet in a batch.
        self._mixes_padding: bool | None = None

    @property
    def max_length(self) -> int | None:
        """Tokens after which texts are cut; None without a limit."""
        return self._max_length

    @property
    @abstractmethod
    def model_name(self) -> str:
        """What the model is called in messages."""

    @abstractmethod
    def _eps(self) -> float:
        """Return the relative rounding error of the type that the model computes in."""

    def _prepare(self, window: Any, offset: int) -> tuple[Any, np.ndarray]:
        rows = [only_text(row) for row in as_rows(window)]
        encoded = self._encode(rows, offset)
        lengths = np.array([len(row["input_ids"]) for row in encoded])
        if (lengths == 0).any():
            raise DataError(f"sample {offset + int(lengths.argmin())} has no tokens")
        # Equal lengths together, so that little is padded; the longest first, so that memory
        # runs out at once or never.
        order = np.argsort(-lengths, kind="stable")
        return [encoded[i] for i in order], order

    def _run_batch(self, samples: Any) -> ModelOutput:
        if self._mixes_padding or len({len(sample["input_ids"]) for sample in samples}) == 1:
            groups = groupby(samples, key=lambda sample: len(sample["input_ids"]))
            return ModelOutput.cat(self._forward(list(group)) for _, group in groups)
        output = self._forward(samples)
        if self._mixes_padding is None:
            self._mixes_padding = self._differs_alone(samples, output)
            if self._mixes_padding:
                return self._run_batch(samples)
        return output

    def _differs_alone(self, samples: Any, output: ModelOutput) -> bool:
        """Return whether shorter samples of a batch have other results without padding."""
        lengths = [len(sample["input_ids"]) for sample in samples]
        shorter = [i for i, length in enumerate(lengths) if length < max(lengths)]
        scale = float(output.embedding.abs().max()) or 1.0
        for i in {shorter[0], shorter[len(shorter) // 2], shorter[-1]}:
            try:
                alone = self._forward(samples[i : i + 1]).embedding
            except ModelError:  # some models take no sample under a number of tokens
                continue
            off = float((alone - output.embedding[i : i + 1]).abs().max()) / scale
            if off > self._rounding():
                again = self._forward(samples[i : i + 1]).embedding
                self._warn_of_differences(off, float((alone - again).abs().max()) / scale)
                return True
        return False

    def _warn_of_differences(self, off: float, off_again: float) -> None:
        """Say why a sample has other results alone: it has others each time, or by padding."""
        name = self.model_name
        if off_again > self._rounding():
            warnings.warn(
                f"{name} gives other results each time it runs (off by {off_again:.1%}): it draws "
                "random numbers, so the selection is not repeatable. Some configs have a seed for "
                "them (hash_seed)",
                stacklevel=3,
            )
            return
        warnings.warn(
            f"{name} gives a sample other results beside longer ones (off by {off:.1%}): it mixes "
            "padding in. Samples of one length run together",
            stacklevel=3,
        )

    def _rounding(self) -> float:
        """Return by how much results may differ between batches, relative to the largest."""
        eps = self._eps()
        return ROUNDING if eps < ROUNDING else 4 * float(eps**0.5)

    def _encode(self, rows: list[Any], offset: int) -> list[dict[str, list[int]]]:
        """Return the tokens of texts, without padding."""
        kinds = [kind_of(row) for row in rows]
        for i, kind in enumerate(kinds):
            if kind is None or kind != kinds[0]:
                raise DataError(
                    f"sample {offset + i} is {described(rows[i])}; expected all texts, all "
                    "pairs (tuples of two texts, rows with text and text_pair), all lists of "
                    "words, or all with input_ids"
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

    def _padded(
        self, samples: Sequence[Mapping[str, list[int]]], length: int | None = None
    ) -> dict[str, torch.Tensor]:
        """Return the tokens of samples as columns of one length, that of the longest if omitted."""
        length = length or max(len(sample["input_ids"]) for sample in samples)
        samples = [
            {**sample, "attention_mask": [1] * len(sample["input_ids"])} for sample in samples
        ]
        columns: dict[str, torch.Tensor] = {}
        for name in samples[0]:
            value = self._pad_values.get(name) or 0
            column = torch.full((len(samples), length), value, dtype=torch.long)
            for row, sample in enumerate(samples):
                n_tokens = len(sample[name])
                start = length - n_tokens if self._pads_left else 0
                column[row, start : start + n_tokens] = torch.tensor(sample[name])
            columns[name] = column
        if "attention_mask" not in self._accepted:
            del columns["attention_mask"]
        return columns


def as_rows(window: Any) -> list[Any]:
    """Return columns (of a tokenizer, or a tuple of text columns) as one row per sample."""
    if isinstance(window, Mapping):
        n_rows = len(next(iter(window.values())))
        return [{name: column[i] for name, column in window.items()} for i in range(n_rows)]
    if isinstance(window, tuple):
        return list(zip(*window, strict=True))
    return list(window)


def only_text(row: Any) -> Any:
    """Return the text of a row (a mapping) in which one value is a text; any other row as it is.

    Of a row that calls its texts as tokenizers do, text and text_pair, return the pair.
    """
    if not isinstance(row, Mapping) or "input_ids" in row:
        return row
    if "text" in row and "text_pair" in row:
        return row["text"], row["text_pair"]
    texts = [value for value in row.values() if isinstance(value, str)]
    return texts[0] if len(texts) == 1 else row


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
