"""The words of texts as a Hugging Face encoder sees them: its hidden layer before the last.

The last layer serves the vector of the whole text, and tells words less well apart: 28.6 against
33.4 entity F1 with MiniLM on WikiGold.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch

from ...errors import SettingsError
from .base import FloatArray

__all__ = ["WordStates"]

Places = npt.NDArray[np.int64]

BATCH = 32  # windows that run at once
LONGEST = 512  # tokens of a window, where the model has no limit
OVERLAP = 4  # windows of longer texts overlap in one part of so many
# What is subtracted from all states, and their size, are fixed by these words.
SAMPLE = (
    "In March 2019 the Danish chemist Anna Larsen moved from Copenhagen to New York.",
    "He said that it was not the best of times, but they went on anyway.",
    "Prices rose by 4.5 % in the second quarter, said a spokesman of Acme Ltd on Monday.",
    "can't wait 2 see u at the #festival tonight :) http://example.com",
    "The results of the study were published in the journal and cited over 300 times.",
)


class WordStates:
    """Computes the states of words.

    Parameters
    ----------
    module : nn.Module
        The transformer.
    tokenizer : PreTrainedTokenizerFast
    max_length : int or None
        Tokens that the model takes; a longer text is read in windows that overlap, and of a word in
        several windows that one counts in which it is farthest from an edge.
    lock : threading.Lock
        Held while the model runs.

    Raises
    ------
    SettingsError
        When the tokenizer does not say where its tokens lie in a text.
    """

    def __init__(
        self, module: Any, tokenizer: Any, max_length: int | None, lock: threading.Lock
    ) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise SettingsError(
                "its tokenizer does not tell where tokens lie in a text; name an encoder with a "
                "fast tokenizer (tokenizer.json)"
            )
        self._module, self._tokenizer, self._lock = module, tokenizer, lock
        self._length = min(max_length or LONGEST, 4 * LONGEST)

    @property
    def length(self) -> int:
        """Tokens of a window."""
        return self._length

    def save(self, folder: Path) -> None:
        """Write the transformer and the tokenizer as `save_pretrained` does."""
        self._module.save_pretrained(folder)
        self._tokenizer.save_pretrained(folder)

    #: Numbers behind the state of a token that are those of the first token of a word, not a mean.
    n_first: int = 0

    @property
    def n_states(self) -> int:
        """Length of the state of a word."""
        return len(self._center[0])

    @property
    def n_features(self) -> int:
        """Length of what is known of a word: its state, and perhaps more."""
        return self.n_states + self.n_first

    def __call__(self, texts: Sequence[str], places: Sequence[Places]) -> list[FloatArray]:
        """Return the states of the words of some texts, an array (n, n_features) each.

        They are centered, and of root mean square norm 1, on some fixed sentences. Words without a
        token have zeros.

        Parameters
        ----------
        places : sequence of arrays of shape (n, 2)
            The words of each text: first code point, and the one behind it.
        """
        center, size = self._center
        shift = np.append(center, np.zeros(self.n_first, np.float32))
        scale = np.append(np.full(len(center), size, np.float32), np.ones(self.n_first, np.float32))
        return [
            np.where(seen[:, None], (states - shift) / scale, 0).astype(np.float32)
            for states, seen in self._states(texts, places)
        ]

    def layer(self, padded: Any) -> torch.Tensor:
        """Return the state of each token of a batch, and the numbers behind it."""
        layers = self._module(**padded, output_hidden_states=True).hidden_states
        return cast(torch.Tensor, layers[max(len(layers) - 2, 1)])

    @cached_property
    def _center(self) -> tuple[FloatArray, float]:
        words = [_split(text) for text in SAMPLE]
        states = np.concatenate([found for found, _ in self._states(SAMPLE, words)])
        states = states[:, : states.shape[1] - self.n_first]
        center = states.mean(axis=0)
        size = float(np.sqrt(np.square(states - center).sum(axis=1).mean()))
        return center, size or 1.0

    def _states(
        self, texts: Sequence[str], places: Sequence[Places]
    ) -> list[tuple[FloatArray, npt.NDArray[np.bool_]]]:
        """Return the states of words, and which of the words have a token at all."""
        windows = self._tokenizer(
            list(texts),
            truncation=True,
            max_length=self._length,
            stride=self._length // OVERLAP,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        of_text = windows["overflow_to_sample_mapping"]
        spans = [np.array(one, np.int64).reshape(-1, 2) for one in windows["offset_mapping"]]
        tokens = self._run(windows["input_ids"])
        width = tokens[0].shape[1]
        found = [np.zeros((len(one), width), np.float32) for one in places]
        middle = [np.full(len(one), -1, np.int64) for one in places]
        for text, span, states in zip(of_text, spans, tokens, strict=True):
            _take(found[text], middle[text], places[text], span, states, self.n_first)
        return [(one, at >= 0) for one, at in zip(found, middle, strict=True)]

    def _run(self, ids: Sequence[Sequence[int]]) -> list[FloatArray]:
        """Return the states of the tokens of each window."""
        found: list[FloatArray] = [np.empty((0, 0), np.float32)] * len(ids)
        order = sorted(range(len(ids)), key=lambda at: -len(ids[at]))
        device = next(self._module.parameters()).device
        for start in range(0, len(order), BATCH):
            batch = order[start : start + BATCH]
            padded = self._tokenizer.pad(
                {"input_ids": [ids[at] for at in batch]}, padding_side="right", return_tensors="pt"
            ).to(device)
            with self._lock, torch.inference_mode():
                states = self.layer(padded).float().cpu().numpy()
            for row, at in enumerate(batch):
                found[at] = states[row, : len(ids[at])]
        return found


def _take(
    found: FloatArray,
    middle: Places,
    places: Places,
    span: Places,
    states: FloatArray,
    n_first: int,
) -> None:
    """Put the mean states of the words of one window where they are farther from its edges."""
    first = np.searchsorted(places[:, 1], span[:, 0], side="right")
    stop = np.searchsorted(places[:, 0], span[:, 1], side="left")
    counts = np.where(span[:, 1] > span[:, 0], np.maximum(stop - first, 0), 0)
    if not counts.any():
        return
    tokens = np.repeat(np.arange(len(span)), counts)
    before = np.repeat(np.cumsum(counts) - counts, counts)
    words = first[tokens] + np.arange(len(tokens)) - before
    low, high = int(words.min()), int(words.max()) + 1
    sums = np.zeros((high - low, states.shape[1]), np.float32)
    np.add.at(sums, words - low, states[tokens])
    n = np.bincount(words - low, minlength=high - low)
    edge = np.full(high - low, len(span))
    np.minimum.at(edge, words - low, np.minimum(tokens, len(span) - 1 - tokens))
    better = np.flatnonzero((n > 0) & (edge > middle[low:high]))
    found[low + better] = sums[better] / n[better, None]
    if n_first:
        first_tokens = tokens[np.unique(words - low, return_index=True)[1]]
        of_word = np.zeros(high - low, np.int64)
        of_word[n > 0] = first_tokens
        found[low + better, -n_first:] = states[of_word[better], -n_first:]
    middle[low + better] = edge[better]


def _split(text: str) -> Places:
    """Return the places of what stands between blanks."""
    places, start = [], 0
    for word in text.split(" "):
        places.append((start, start + len(word)))
        start += len(word) + 1
    return np.array(places, np.int64)
