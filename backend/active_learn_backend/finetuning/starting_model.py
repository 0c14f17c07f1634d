"""The model that training starts from: a classifier as it is, or an encoder with a new head."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from active_learn.models.linear_layers import linear_layers
from transformers import (
    AutoConfig,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
)

from ..errors import SettingsError
from ..learning.encoders.configured import find_encoder
from ..learning.encoders.folders import kind_of, read_json
from ..learning.encoders.hugging_face import load_processor, told_shortly
from ..learning.encoders.names import split_encoders
from ..learning.encoders.transformer_text import Pooling
from ..learning.user_models.base import Inputs
from ..learning.user_models.hugging_face import Pixels, Texts
from ..settings import Settings
from .averaging_layer import KINDS, average_tokens
from .examples import Task

__all__ = ["StartingModel", "find_start", "load_start"]

AUTO = {"text": AutoModelForSequenceClassification, "image": AutoModelForImageClassification}
CLASSIFIERS = ("ForSequenceClassification", "ForImageClassification")
PROBLEM_TYPES = {
    "classification": "single_label_classification",
    "multilabel": "multi_label_classification",
    "regression": "regression",
}


@dataclass
class StartingModel:
    """A classifier before its training.

    Attributes
    ----------
    model : PreTrainedModel
    processor : tokenizer or image processor
    inputs : Inputs
        Makes of a task what the processor takes; the backend reads tasks by the same.
    new : frozenset of str
        Names of the weights that the folder does not hold, which are random.
    """

    model: Any
    processor: Any
    inputs: Inputs
    new: frozenset[str]

    @property
    def is_text(self) -> bool:
        """Whether it reads texts."""
        return isinstance(self.inputs, Texts)

    @property
    def has_new_head(self) -> bool:
        """Whether its last layer is random."""
        return f"{self.last_layer[0]}.weight" in self.new

    @property
    def last_layer(self) -> tuple[str, Any]:
        """Name and module of the last linear layer, whose outputs are the logits."""
        found = [
            (name, layer)
            for name, layer in linear_layers(self.model).items()
            if not name.startswith(f"{self.model.base_model_prefix}.")
        ]
        if not found:
            raise SettingsError(
                f"{type(self.model).__name__} has no linear layer behind its encoder; "
                "start from another model, or set TRAIN_COMMAND"
            )
        return found[-1]

    @property
    def head_modules(self) -> list[str]:
        """Names of the modules that are trained in full: the head, and what is random."""
        prefix = self.model.base_model_prefix
        names = {
            name
            for name, module in self.model.named_children()
            if name != prefix and any(True for _ in module.parameters())
        }
        random = {name.rpartition(".")[0] for name in self.new}
        return sorted(names | {name for name in random if name.split(".")[0] not in names})


def find_start(value: str, task: Task, settings: Settings) -> Path:
    """Return the folder of the model that training starts from.

    Parameters
    ----------
    value : str
        A folder, ``minilm``, a name of the hub, or several of them separated by commas, of which
        the first counts that reads what the tasks show.

    Raises
    ------
    SettingsError
        When there is none.
    """
    if not value:
        raise SettingsError(
            "there is no model to start from; set MODEL to a Hugging Face classifier, or ENCODER "
            "to an encoder, such as minilm"
        )
    shown = {field.kind for field in task.fields}
    for name in [value] if Path(value).exists() else split_encoders(value):
        folder = Path(name)
        if not folder.exists():
            found = find_encoder(name, settings)
            if found is None:
                raise SettingsError(f"the Hugging Face hub does not give '{name}' now; try later")
            folder = found[0]
        if not folder.is_dir():
            raise SettingsError(
                f"training starts from a Hugging Face folder, and '{name}' is a file; name a "
                "folder, or train by TRAIN_COMMAND"
            )
        if kind_of(folder) in shown:
            return folder
    raise SettingsError(
        f"'{value}' reads none of what the tasks show ({', '.join(sorted(shown))}); name a model "
        "that does"
    )


def load_start(folder: Path, task: Task, device: torch.device) -> StartingModel:
    """Load a classifier for the labels of a task.

    A classifier whose classes are those labels keeps its head; any other model gets a new one.

    Raises
    ------
    SettingsError
        When it cannot be loaded.
    """
    kind = kind_of(folder)
    if kind == "audio":
        raise SettingsError(f"'{folder.name}' is an audio model, which is not trained")
    mode = "own"
    if kind == "text":
        pooling = Pooling.read(folder)
        folder, mode = pooling.root, pooling.mode
    kept = _labels_of_classes(folder, task)
    labels = list(kept or task.labels or ("value",))
    processor = load_processor(folder, kind)
    with told_shortly(folder):
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        config.id2label = dict(enumerate(labels))
        config.label2id = {label: index for index, label in enumerate(labels)}
        config.problem_type = PROBLEM_TYPES[task.problem_type]
        averages = not _is_classifier(folder) and _averages(config, kind, mode)
        config.num_hidden_layers += averages
        model, info = AUTO[kind].from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            dtype=torch.float32,
        )
    if kind == "text":
        _give_pad_token(model, processor)
    new = {*info["missing_keys"], *(str(one[0]) for one in info["mismatched_keys"])}
    if averages:
        average_tokens(model)
        new = {name for name in new if not name.startswith(f"{model.base_model_prefix}.")}
    inputs = Texts() if kind == "text" else Pixels(processor)
    start = StartingModel(model.to(device), processor, inputs, frozenset(new))
    if kept is None:  # perhaps as many classes, but other ones
        start.new |= {f"{start.last_layer[0]}.weight", f"{start.last_layer[0]}.bias"}
    return start


def _is_classifier(folder: Path) -> bool:
    architectures = read_json(folder / "config.json").get("architectures") or [""]
    return str(architectures[0]).endswith(CLASSIFIERS)


def _labels_of_classes(folder: Path, task: Task) -> tuple[str, ...] | None:
    """Return the label of each output of a classifier; None of what does not have the labels."""
    if not _is_classifier(folder):
        return None
    classes = read_json(folder / "config.json").get("id2label") or {}
    if task.problem_type == "regression":
        return () if len(classes) == 1 else None
    labels = {_plain(label): label for label in task.labels}
    found = [labels.get(_plain(classes[index])) for index in sorted(classes, key=int)]
    if sorted(map(str, found)) != sorted(task.labels):
        return None
    return tuple(label for label in found if label is not None)


def _plain(name: str) -> str:
    """Return a name without what the backend does not regard either when it maps classes."""
    return "".join(str(name).casefold().replace("_", " ").split())


def _averages(config: Any, kind: str, mode: str) -> bool:
    """Return whether an encoder is pooled by the mean, and its classifier reads the first token."""
    positions = getattr(config, "position_embedding_type", None) or "absolute"
    plain = positions == "absolute" and not getattr(config, "is_decoder", False)
    return kind == "text" and mode == "mean" and config.model_type in KINDS and plain


def _give_pad_token(model: Any, tokenizer: Any) -> None:
    """Let a decoder without a pad token pad by its end token: the mask hides it."""
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
