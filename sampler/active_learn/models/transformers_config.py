"""What a Hugging Face model, or a module around one, takes and allows."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from ..errors import ModelError

__all__ = ["accepted_inputs", "max_length", "padding_agrees", "text_config"]

NO_LIMIT = 10**9  # tokenizers without a limit of their own say 1e30
TOKENS = {"input_ids", "attention_mask"}


def accepted_inputs(module: nn.Module, tokenizer: Any) -> frozenset[str]:
    """Return the tokenizer's columns that a model takes.

    A wrapper that hands all arguments on (PEFT) takes what the model inside takes; any other that
    does takes all that the tokenizer gives.

    Raises
    ------
    ModelError
        When the model takes no ``input_ids``.
    """
    parameters = inspect.signature(module.forward).parameters.values()
    names = {p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        inner: Any = getattr(module, "get_base_model", None)
        if inner is not None:
            return accepted_inputs(inner(), tokenizer)
        if not names >= TOKENS:
            names |= set(tokenizer.model_input_names)
    if "input_ids" not in names:
        raise ModelError(
            f"forward of {type(module).__name__} takes {', '.join(sorted(names)) or 'nothing'}; "
            "expected inputs called as the tokenizer calls them: input_ids, attention_mask"
        )
    return frozenset(names - {"labels"})


def text_config(module: nn.Module) -> Any:
    """Return the config of a model's text part, or of the encoder inside a module; else None."""
    for part in module.modules():
        config: Any = getattr(part, "config", None)
        if hasattr(config, "model_type"):
            return config.get_text_config() if hasattr(config, "get_text_config") else config
    return None


def padding_agrees(config: Any, tokenizer: Any) -> bool:
    """Return whether a tokenizer's pad token is the one that the model's config expects."""
    expected = getattr(config, "pad_token_id", None)
    return expected is not None and expected == tokenizer.pad_token_id


def max_length(module: nn.Module, tokenizer: Any) -> int | None:
    """Return the longest sequence that tokenizer and model allow; None without a limit.

    Raises
    ------
    ModelError
        When that is no token at all.
    """
    limits = [tokenizer.model_max_length]
    positions = getattr(text_config(module), "max_position_embeddings", None)
    if positions is not None and positions > 0:
        # RoBERTa's family starts to count positions behind its padding index.
        paddings = [
            getattr(part, "padding_idx", None)
            for name, part in module.named_modules()
            if name.endswith("position_embeddings")
        ]
        skipped = [padding + 1 for padding in paddings if padding is not None]
        limits.append(positions - max(skipped, default=0))
    limit = min(limits)
    if limit < 1:
        raise ModelError(f"tokenizer and config leave room for {limit} tokens; expected at least 1")
    return int(limit) if limit < NO_LIMIT else None
