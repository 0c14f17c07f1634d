"""Hugging Face encoders and the team's own model as parts of an ONNX graph."""

from __future__ import annotations

import inspect
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
import torch
from active_learn.errors import first_line
from active_learn.models.onnx_files import load_model
from active_learn.models.onnx_graph import find_last_linear
from torch import nn

from ...errors import SettingsError
from ...settings import Settings
from ..encoders.images import PROBE, open_image
from ..encoders.names import find_path
from ..encoders.transformer_image import TransformerImageEncoder
from ..encoders.transformer_text import TransformerTextEncoder
from ..user_models import OwnModel
from ..user_models.specification import (
    InputSpecification,
    ProcessorInput,
    TokensInput,
    read_specification,
)
from .graph_part import OPSET, GraphPart, Nodes, part_of_model

__all__ = ["image_part", "own_model_part", "text_part"]

TEXTS = ("text", "text text text")  # of two lengths, so that the mask is traced
NO_LIMIT = 1 << 20
REMEDY = "give the model as an ONNX file, or train it by an encoder that has one"

Tensors = dict[str, torch.Tensor]


class _Traced(nn.Module):
    """A function of named tensors as a module, which is what PyTorch exports."""

    def __init__(
        self, network: nn.Module, names: Sequence[str], function: Callable[[Tensors], torch.Tensor]
    ) -> None:
        super().__init__()
        self.network = network  # so that its weights are the module's
        self._names, self._function = tuple(names), function

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        return self._function(dict(zip(self._names, tensors, strict=True)))


def text_part(encoder: TransformerTextEncoder, prefix: str) -> GraphPart:
    """Return the part of a Hugging Face encoder of texts, with its pooling.

    Raises
    ------
    SettingsError
        When PyTorch cannot write it as ONNX.
    """
    model = encoder.model
    folder = f"{prefix}tokenizer"
    traced = _export(model.module, model.inputs(TEXTS), model.vectors, ("n", "tokens"), "vectors")
    specification = TokensInput(
        kind="tokens", tokenizer=folder, max_length=model.max_length or NO_LIMIT, prefix=prefix
    )
    return part_of_model(
        traced,
        "vectors",
        [specification],
        lambda target: model.tokenizer.save_pretrained(target / folder),
        prefix=prefix,
    )


def image_part(encoder: TransformerImageEncoder, prefix: str) -> GraphPart:
    """Return the part of a Hugging Face encoder of images, with its pooling.

    Raises
    ------
    SettingsError
        When PyTorch cannot write it as ONNX.
    """
    model = encoder.model
    pixels = encoder.prepare_image(open_image(PROBE))["pixel_values"]
    traced = _export(
        model.module,
        {"pixel_values": torch.stack([pixels, pixels])},
        lambda inputs: model.vectors(inputs["pixel_values"]),
        ("n",),
        "vectors",
    )
    return part_of_model(
        traced,
        "vectors",
        [_processor_input(prefix)],
        lambda target: model.processor.save_pretrained(target / f"{prefix}processor"),
        prefix=prefix,
    )


def own_model_part(encoder: OwnModel, settings: Settings) -> GraphPart:
    """Return the part of the team's own model up to its last linear layer, in unit length.

    Raises
    ------
    SettingsError
        When it is of a kind that cannot be put into an ONNX graph.
    """
    name = settings.model
    path = find_path(name, settings)
    if path is not None and path.is_dir():
        part = _hugging_face_part(encoder)
    elif path is not None and path.suffix.lower() == ".onnx":
        part = _onnx_part(path)
    else:
        raise SettingsError(
            f"MODEL '{name}' cannot be put into an ONNX graph; export it as ONNX or as a Hugging "
            "Face folder, name that as MODEL, and let a round train on it"
        )
    nodes = Nodes("unit_")
    unit = nodes.unit(part.output, 1e-30)
    return part.followed_by(nodes, unit)


def _onnx_part(path: Path) -> GraphPart:
    model, folder = load_model(path)
    layer = find_last_linear(model.graph)
    if layer.picks_token:
        raise SettingsError(
            f"MODEL '{path.name}' picks one token of the output of its last layer, which is not "
            "exported; export the model without that"
        )
    layer.add_to(model.graph)
    if folder:
        onnx.external_data_helper.load_external_data_for_model(model, folder)
    specification = read_specification(path)

    def save_files(target: Path) -> None:
        for name in specification.folders:
            shutil.copytree(path.parent / name, target / name, dirs_exist_ok=True)

    return part_of_model(model, layer.embedding, specification.inputs, save_files)


def _hugging_face_part(encoder: OwnModel) -> GraphPart:
    """Return the part of a classifier: its logits are exported, and cut at their last layer."""
    adapter: Any = encoder.loaded.adapter
    texts = [field.name for field in encoder.fields if field.kind == "text"]
    specification: InputSpecification
    if texts:
        folder, processor = "tokenizer", adapter.tokenizer
        rows = list(TEXTS) if len(texts) == 1 else [(text, text) for text in TEXTS]
        inputs: Tensors = adapter.inputs(rows)
        specification = TokensInput(
            kind="tokens",
            tokenizer=folder,
            texts=1 if len(texts) == 1 else 2,
            max_length=adapter.max_length or NO_LIMIT,
        )
        free: tuple[str, ...] = ("n", "tokens")
    else:
        folder, processor = "processor", adapter.processor
        pixels = processor(images=open_image(PROBE), return_tensors="pt")["pixel_values"]
        inputs = {"pixel_values": torch.cat([pixels, pixels])}
        specification, free = _processor_input(""), ("n",)
    module = adapter.module
    traced = _export(module, inputs, lambda given: module(**given).logits, free, "logits")
    layer = find_last_linear(traced.graph)
    layer.add_to(traced.graph)
    return part_of_model(
        traced,
        layer.embedding,
        [specification],
        lambda target: processor.save_pretrained(target / folder),
    )


def _processor_input(prefix: str) -> ProcessorInput:
    return ProcessorInput(
        kind="processor", processor=f"{prefix}processor", name=f"{prefix}pixel_values"
    )


def _export(
    network: nn.Module,
    inputs: Mapping[str, torch.Tensor],
    function: Callable[[Tensors], torch.Tensor],
    free: Sequence[str],
    output: str,
) -> onnx.ModelProto:
    """Write what a network computes as ONNX.

    Parameters
    ----------
    free : sequence of str
        Names of the first dimensions of each input, which may have any size.
    """
    # Else the exporter sets the network itself to training when it is done.
    module = _Traced(network, list(inputs), function).eval()
    options: dict[str, Any] = {
        "input_names": list(inputs),
        "output_names": [output],
        "dynamic_axes": {name: dict(enumerate(free)) for name in inputs} | {output: {0: "n"}},
        "opset_version": OPSET,
    }
    if "dynamo" in inspect.signature(torch.onnx.export).parameters:
        options["dynamo"] = False  # the newer exporter needs a further package
    try:
        with TemporaryDirectory() as folder, torch.no_grad(), warnings.catch_warnings():
            # It warns of each size that it takes for a constant: the check of the answers tells.
            warnings.simplefilter("ignore")
            path = Path(folder) / "model.onnx"
            torch.onnx.export(module, tuple(inputs.values()), str(path), **options)
            return onnx.load(path)
    except Exception as error:  # whatever a model and the exporter raise
        raise SettingsError(
            f"PyTorch cannot write {type(network).__name__} as ONNX: {first_line(error)}; {REMEDY}"
        ) from error
