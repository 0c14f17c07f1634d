"""Low-rank adaptation: few weights are trained beside the fixed ones, and merged into them.

References
----------
E. Hu et al.: LoRA: Low-Rank Adaptation of Large Language Models. ICLR 2022.
"""

from __future__ import annotations

from typing import Any

from peft import LoraConfig, get_peft_model
from torch import nn

from ..errors import SettingsError
from .starting_model import StartingModel

__all__ = ["add_adapters", "merged"]

RANK = 8


def add_adapters(start: StartingModel) -> Any:
    """Return the model with adapters in all linear layers of its encoder; its head trains in full.

    Raises
    ------
    SettingsError
        When the encoder has no linear layers.
    """
    prefix = f"{start.model.base_model_prefix}."
    heads = tuple(f"{name}." for name in start.head_modules)
    targets = [
        name
        for name, layer in start.model.named_modules()
        if isinstance(layer, nn.Linear) or type(layer).__name__ == "Conv1D"  # of GPT-2
        if name.startswith(prefix) and not f"{name}.".startswith(heads)
    ]
    if not targets:
        raise SettingsError(
            f"the encoder of {type(start.model).__name__} has no linear layers for LoRA; "
            "set TRAIN=full"
        )
    config = LoraConfig(
        r=RANK,
        lora_alpha=2 * RANK,
        target_modules=targets,
        modules_to_save=start.head_modules,
    )
    return get_peft_model(start.model, config)


def merged(model: Any) -> Any:
    """Return the model as it was before the adapters, with what they learned in its weights."""
    return model.merge_and_unload(safe_merge=True)
