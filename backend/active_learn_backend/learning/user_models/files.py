"""Loads an own model from an ONNX, TorchScript or torch.export file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
import torch
from active_learn.models import adapt
from active_learn.models.onnx_files import all_tensors
from active_learn.models.torch_files import EXPORTED, read_exported
from active_learn.models.torchscript import TORCHSCRIPT, read_torchscript
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from ...errors import SettingsError
from ..encoders.folders import content_digest, content_files
from .base import LoadedModel
from .file_inputs import FileInputs
from .specification import read_specification, specification_path

__all__ = ["FILES", "digest_of_file", "files_of_model", "load_file", "onnx_device", "onnx_file"]

ONNX = (".onnx",)
FILES = ONNX + TORCHSCRIPT + EXPORTED


def load_file(name: str, path: Path, device: torch.device) -> LoadedModel:
    """Load a model file with the JSON beside it.

    A program of torch.export runs where it was exported for; others run on the device.

    Raises
    ------
    SettingsError
        When the JSON is missing or wrong, or does not fit the model.
    ModelError
        When the model cannot be read.
    """
    suffix = path.suffix.lower()
    if suffix not in FILES:
        raise SettingsError(
            f"MODEL '{name}' is a file of no known kind; expected one of {', '.join(FILES)}"
        )
    specification = read_specification(path)
    if specification.regions is not None:
        raise SettingsError(
            f"MODEL '{name}' finds regions, and the project labels none; leave MODEL out, or name "
            "a classifier"
        )
    if suffix in ONNX:
        adapter: Any = adapt(path, device=onnx_device(device))
    elif suffix in TORCHSCRIPT:
        adapter = adapt(read_torchscript(path).to(device))
    else:
        adapter = adapt(read_exported(path))
    inputs = FileInputs(specification, adapter.input_names, path.parent)
    classes = tuple(specification.labels)
    return LoadedModel(name, adapter, inputs, classes, digest_of_file(path))


def onnx_device(device: torch.device) -> str:
    """Run on the GPU where ONNX Runtime can; its usual package cannot."""
    gpu = device.type == "cuda" and "CUDAExecutionProvider" in ort.get_available_providers()
    return "cuda" if gpu else "cpu"


def onnx_file(folder: Path) -> Path | None:
    """Return the ONNX file of a folder; None where it holds weights of PyTorch, or no such file.

    Raises
    ------
    SettingsError
        When it holds several.
    """
    files = sorted(folder.glob("*.onnx"))
    if not files or list(folder.glob("*.safetensors")):
        return None
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        raise SettingsError(
            f"MODEL '{folder.name}' holds several ONNX files ({names}); leave the one to be used"
        )
    return files[0]


def digest_of_file(path: Path) -> str:
    """Return the digest of a model file, with its JSON, weights, tokenizers and processors.

    Raises
    ------
    SettingsError
        When the JSON is missing or wrong.
    """
    folders = _folders(path)
    digest = hashlib.blake2b(digest_size=6)
    for file in [path, specification_path(path), *_external_data(path)]:
        digest.update(f"{file.name} {file.stat().st_size}\n".encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    for folder in folders:
        digest.update(content_digest(folder).encode())
    return digest.hexdigest()


def files_of_model(path: Path) -> list[Path]:
    """List the files that a model file needs, itself among them.

    Raises
    ------
    SettingsError
        When the JSON is missing or wrong.
    """
    in_folders = [file for folder in _folders(path) for file in content_files(folder)]
    return [path, specification_path(path), *_external_data(path), *in_folders]


def _folders(path: Path) -> list[Path]:
    """List the folders of tokenizers and image processors that a model file needs."""
    return [path.parent / name for name in read_specification(path).folders]


def _external_data(path: Path) -> list[Path]:
    """List the files in which an ONNX model keeps its weights; the library has checked them."""
    if path.suffix.lower() not in ONNX:
        return []
    try:
        model = onnx.load(path, load_external_data=False)
    except DecodeError as error:
        raise SettingsError(f"'{path.name}' is no ONNX model that can be read: {error}") from error
    entries = [entry for tensor in all_tensors(model) for entry in tensor.external_data]
    names = {entry.value for entry in entries if entry.key == "location"}
    return [path.parent / name for name in sorted(names)]
