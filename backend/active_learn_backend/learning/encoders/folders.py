"""What lies in the folder of a Hugging Face model: its kind, and what names its content."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, Literal

from ...errors import SettingsError

__all__ = ["content_digest", "content_files", "kind_of", "processor_kind", "read_json"]

CONTENT = (".safetensors", ".json", ".txt", ".model")
ONNX = (".onnx", ".onnx_data", ".data")  # of a folder without safetensors
MODULE_FOLDER = re.compile(r"\d+_\w+")  # parts of a sentence-transformers model: 1_Pooling
IMAGE_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
TOKENIZERS = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "tokenizer.model")


def read_json(path: Path) -> Any:
    """Read a JSON file of a model; an empty dict when it is not there."""
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path.name} of the model '{path.parent.name}' is damaged") from error


def kind_of(folder: Path) -> Literal["image", "text", "audio"]:
    """Return whether a folder holds a model of images, of audio or of texts.

    Raises
    ------
    SettingsError
        When the folder holds neither, or has no safetensors weights.
    """
    if not (folder / "config.json").exists():
        raise SettingsError(
            f"'{folder.name}' is no Hugging Face model: it has no config.json; "
            "name a folder written by save_pretrained"
        )
    if not list(folder.glob("*.safetensors")):
        raise SettingsError(
            f"the model '{folder.name}' has no safetensors weights (pickled ones are never read); "
            "convert it by save_pretrained"
        )
    return processor_kind(folder)


def processor_kind(folder: Path) -> Literal["image", "text", "audio"]:
    """Return what the processor in a model's folder reads.

    Raises
    ------
    SettingsError
        When it holds none.
    """
    processors = [read_json(folder / name) for name in IMAGE_PROCESSORS]
    if any("image_processor_type" in p or "image_processor" in p for p in processors):
        return "image"
    if any("image_mean" in p for p in processors):  # as written before transformers 4.25
        return "image"
    extractors = [*processors, *(p.get("feature_extractor") or {} for p in processors)]
    if any("sampling_rate" in extractor for extractor in extractors):
        return "audio"  # Whisper and CLAP have a tokenizer too
    if any((folder / name).exists() for name in TOKENIZERS):
        return "text"
    raise SettingsError(
        f"the model '{folder.name}' has neither a tokenizer, an image processor nor an audio "
        "feature extractor; save it with its own by save_pretrained into the same folder"
    )


def content_files(folder: Path) -> list[Path]:
    """List the files of weights, configs and tokenizer: all that is read of a folder."""
    kinds = CONTENT if list(folder.glob("*.safetensors")) else CONTENT + ONNX
    folders = [folder, *(f for f in folder.iterdir() if MODULE_FOLDER.fullmatch(f.name))]
    files = [file for f in folders if f.is_dir() for file in f.iterdir() if file.suffix in kinds]
    return sorted(files)


def content_digest(folder: Path) -> str:
    """Digest of weights, configs and tokenizer: 12 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=6)
    for file in content_files(folder):
        digest.update(f"{file.relative_to(folder)} {file.stat().st_size}\n".encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
