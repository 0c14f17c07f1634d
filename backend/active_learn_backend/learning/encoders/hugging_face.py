"""Loads Hugging Face models: safetensors only, and no code that a model brings along."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import AutoConfig, AutoFeatureExtractor, AutoImageProcessor, AutoTokenizer
from transformers.utils import logging as transformers_logging

from ...errors import SettingsError
from ...wording import shortened

__all__ = ["load_config", "load_model", "load_processor", "told_shortly", "unit_vectors"]


def load_model(auto: Any, folder: Path, device: torch.device) -> tuple[nn.Module, set[str]]:
    """Load a model, in float32 and ready to run.

    Parameters
    ----------
    auto : class
        ``AutoModel`` or one of its kind.

    Returns
    -------
    model : nn.Module
    missing : set of str
        Names of the weights that the folder does not hold, which are random: of the pooler only,
        and of what is used in training only.

    Raises
    ------
    SettingsError
        When it cannot be loaded, or other weights are missing.
    """
    with told_shortly(folder):
        model, info = auto.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
        missing = set(info["missing_keys"])
        missing = {name for name in missing if "masked_spec_embed" not in name}
        lost = sorted(name for name in missing if "pooler" not in name)
        if lost or info["mismatched_keys"]:
            raise SettingsError(
                f"the model '{folder.name}' lacks weights of {type(model).__name__} "
                f"({', '.join(lost[:3]) or 'of the right shape'}); save the whole model"
            )
        return model.float().eval().to(device), missing


def load_config(folder: Path) -> Any:
    """Load the config of a model.

    Raises
    ------
    SettingsError
        When it cannot be loaded.
    """
    with told_shortly(folder):
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def load_processor(folder: Path, kind: Literal["image", "text", "audio"]) -> Any:
    """Load the tokenizer, the image processor, or the feature extractor of audio.

    Raises
    ------
    SettingsError
        When it cannot be loaded.
    """
    auto = {"image": AutoImageProcessor, "text": AutoTokenizer, "audio": AutoFeatureExtractor}[kind]
    with told_shortly(folder):
        return auto.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def unit_vectors(
    model: Any,
    inputs: Mapping[str, torch.Tensor],
    features: str,
    mean: Callable[[torch.Tensor], torch.Tensor],
    *,
    trained_pooler: bool,
) -> torch.Tensor:
    """Return one vector of unit length for each input, on the CPU.

    Parameters
    ----------
    model : nn.Module
    inputs : mapping
        Arguments of the model.
    features : str
        Method of models such as CLIP and CLAP that gives the vector.
    mean : callable
        Makes it of the last hidden state of all others, where no trained pooler does.
    trained_pooler : bool
        Whether the weights of the pooler are trained ones.
    """
    if hasattr(model, features):
        found = getattr(model, features)(**inputs)
        pooled = found if isinstance(found, torch.Tensor) else found.pooler_output
    else:
        output = model(**inputs)
        pooled = getattr(output, "pooler_output", None)
        if pooled is None or not trained_pooler:
            pooled = mean(output.last_hidden_state)
    return torch.nn.functional.normalize(pooled.flatten(1).float(), dim=1).cpu()


@contextmanager
def told_shortly(folder: Path) -> Iterator[None]:
    """Keep the library's reports and bars out of the log; say in one line what failed."""
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    except SettingsError:
        raise
    except Exception as error:  # whatever the libraries of models, tokenizers and files raise
        reason = next((line for line in str(error).splitlines() if line), type(error).__name__)
        raise SettingsError(
            f"the model '{folder.name}' cannot be loaded: {shortened(reason, 200)}"
        ) from error
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
