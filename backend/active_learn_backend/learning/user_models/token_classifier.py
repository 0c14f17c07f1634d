"""A token classifier of Hugging Face: a class for each token, and so for each word of a text.

Its weights are those of PyTorch, or an ONNX file in their place.

A word has the probabilities of its first token, as the pipeline of transformers takes them with
``aggregation_strategy="first"``: the first token is the one that such models are trained on.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from active_learn.models.transformers_config import max_length

from ...errors import SettingsError
from ..encoders.folders import content_digest, kind_of
from ..encoders.word_states import WordStates
from .files import onnx_file
from .onnx_tokens import OnnxTokens
from .region_head import LEAST_LOG, SCALE
from .region_model import RegionModel

__all__ = ["TokenClassifier"]


class TaggedWordStates(WordStates):
    """The last hidden states of words, and behind them the log-probabilities of their classes."""

    def __init__(self, model: TokenClassifier, *, with_classes: bool) -> None:
        super().__init__(model.module, model.tokenizer, model.max_length, model.lock)
        self.n_first = len(model.classes) if with_classes else 0

    def layer(self, padded: Any) -> torch.Tensor:
        output = self._module(**padded, output_hidden_states=True)
        states: torch.Tensor = output.hidden_states[-1].float()
        if not self.n_first:
            return states
        shares = torch.log_softmax(output.logits.float(), dim=-1).clamp(min=LEAST_LOG)
        return torch.cat([states, shares * float(SCALE)], dim=-1)


@dataclass(eq=False)
class TokenClassifier(RegionModel):
    """A token classifier with its tokenizer.

    Attributes
    ----------
    module : nn.Module
    tokenizer : PreTrainedTokenizerFast
    """

    architecture: ClassVar[str] = "ForTokenClassification"
    reads: ClassVar[str] = "text"
    noun: ClassVar[str] = "a token classifier"

    module: Any
    tokenizer: Any

    def __post_init__(self) -> None:
        self.lock = threading.Lock()  # the model is not to be run by two threads at once
        self.max_length = max_length(self.module, self.tokenizer)

    @classmethod
    def load(cls, name: str, path: Path, device: torch.device) -> TokenClassifier:
        """Load a folder as `save_pretrained` or, with an ONNX file, as optimum writes it.

        Raises
        ------
        SettingsError
            When it cannot be loaded, or its tokenizer is not a fast one.
        ModelError
            When its ONNX file cannot be used.
        """
        module: Any
        file = onnx_file(path)
        if file is None and kind_of(path) != "text":
            raise SettingsError(f"MODEL '{name}' has no tokenizer; save it into the same folder")
        # transformers takes seconds to import: only for those who use it.
        from transformers import AutoModelForTokenClassification

        from ..encoders.hugging_face import load_config, load_model, load_processor

        if file is None:
            module, _ = load_model(AutoModelForTokenClassification, path, device)
        else:
            module = OnnxTokens(file, load_config(path), device)
        config = module.config
        classes = tuple(str(config.id2label[at]) for at in sorted(config.id2label))
        model = cls(name, classes, content_digest(path), module, load_processor(path, "text"))
        _ = model.words(as_is=True).n_features  # what is wrong with its tokenizer is said here
        return model

    @property
    def n_states(self) -> int:
        return self._with_classes.n_states

    def words(self, as_is: bool) -> TaggedWordStates:
        """Return what it makes of words; their classes, too, where it is used as it is."""
        return self._with_classes if as_is else self._without_classes

    @cached_property
    def _with_classes(self) -> TaggedWordStates:
        return TaggedWordStates(self, with_classes=True)

    @cached_property
    def _without_classes(self) -> TaggedWordStates:
        return TaggedWordStates(self, with_classes=False)
