"""Texts by any Hugging Face encoder, pooled as sentence-transformers does it."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from active_learn.models.base import ModelOutput
from active_learn.models.transformers_model import TextTransformer
from transformers import AutoModel

from ...errors import SettingsError
from .base import Encoder, FloatArray
from .folders import content_digest, read_json
from .hugging_face import load_model, load_processor
from .word_states import WordStates

__all__ = ["TransformerTextEncoder"]

# Names in 1_Pooling/config.json; a newer one has `pooling_mode` instead of a flag for each.
FLAGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}


@dataclass(frozen=True)
class Pooling:
    """How the vectors of a text's tokens become one.

    Attributes
    ----------
    mode : {'mean', 'cls'}
        The mean over the attention mask, or the first token's vector.
    max_length : int or None
        Tokens after which texts are cut; None: the model's own limit.
    root : Path
        Folder of the transformer itself.
    """

    mode: str
    max_length: int | None
    root: Path

    @classmethod
    def read(cls, folder: Path) -> Pooling:
        """Read what sentence-transformers wrote; without that, the mean.

        Raises
        ------
        SettingsError
            When the model has further modules, or is pooled another way.
        """
        modules = read_json(folder / "modules.json") or []
        paths = {str(m["type"]).rpartition(".")[2]: folder / str(m["path"]) for m in modules}
        strange = paths.keys() - {"Transformer", "Pooling", "Normalize"}
        if strange:
            raise SettingsError(
                f"the encoder '{folder.name}' has a module {min(strange)}, which is not supported; "
                "use one of Transformer, Pooling and Normalize only"
            )
        root = paths.get("Transformer", folder)
        length = read_json(root / "sentence_bert_config.json").get("max_seq_length")
        return cls(_pooling_mode(paths["Pooling"]) if "Pooling" in paths else "mean", length, root)


def _pooling_mode(folder: Path) -> str:
    config = read_json(folder / "config.json")
    flags = [name for name, on in config.items() if name.startswith("pooling_mode_") and on]
    modes = config.get("pooling_mode") or [FLAGS.get(name, name) for name in flags]
    modes = [modes] if isinstance(modes, str) else modes
    if len(modes) != 1 or modes[0] not in FLAGS.values():
        raise SettingsError(
            f"the encoder '{folder.parent.name}' is pooled by {', '.join(map(str, modes))}; "
            "supported are mean and cls"
        )
    return str(modes[0])


class PooledText(TextTransformer):
    """The transformer and its pooling; a text's vector stands for logits and embedding."""

    def __init__(self, model: Any, tokenizer: Any, pooling: Pooling) -> None:
        super().__init__(model, tokenizer)
        self._mode = pooling.mode
        limits = [n for n in (self._max_length, pooling.max_length) if n is not None]
        self._max_length = min(limits, default=None)

    @property
    def token_limit(self) -> int | None:
        """Tokens after which texts are cut."""
        return self._max_length

    def _forward(self, samples: Any) -> ModelOutput:
        vectors = self.vectors(self._inputs(samples)).cpu()
        return ModelOutput(vectors, vectors)

    def vectors(self, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Return the vector of each text, by what the transformer takes."""
        tokens = self.module(**inputs).last_hidden_state
        if self._mode == "cls":
            pooled = tokens[:, 0]
        else:
            mask = inputs["attention_mask"][:, :, None].to(tokens.dtype)
            pooled = (tokens * mask).sum(dim=1) / mask.sum(dim=1)
        return torch.nn.functional.normalize(pooled, dim=1)


class TransformerTextEncoder(Encoder):
    """Texts by a Hugging Face encoder.

    The mean over the tokens, or the first token where the folder says so, in unit length, as
    sentence-transformers computes it (Reimers & Gurevych, EMNLP 2019). Prompts that a model
    wants before its texts are not added.

    Parameters
    ----------
    folder : Path
        As written by `save_pretrained`, with the tokenizer, or by sentence-transformers.
    device : torch.device

    Attributes
    ----------
    model : PooledText

    Raises
    ------
    SettingsError
        When the folder holds no such encoder.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self._lock = threading.Lock()  # the model is not to be run by two threads at once
        pooling = Pooling.read(folder)
        model: Any = load_model(AutoModel, pooling.root, device)[0]
        if getattr(model.config, "is_encoder_decoder", False):
            model = model.get_encoder()
        self.model = PooledText(model, load_processor(pooling.root, "text"), pooling)
        self.fingerprint = f"text-hf1-{content_digest(folder)}"
        self.n_features = self.run(["text"]).shape[1]

    @cached_property
    def word_states(self) -> WordStates:
        """What the model makes of the words of a text."""
        model = self.model
        return WordStates(model.module, model.tokenizer, model.token_limit, self._lock)

    def prepare(self, raw: str) -> str:
        return raw

    def run(self, prepared: Sequence[str]) -> FloatArray:
        with self._lock:
            return self.model(list(prepared)).embedding.numpy()
