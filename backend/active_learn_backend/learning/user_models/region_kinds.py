"""The kinds of own models that find regions; a kind is one file, and one line in `FOLDERS`."""

from __future__ import annotations

from pathlib import Path

from ...errors import SettingsError
from ..encoders.folders import read_json
from .detector import TransformerDetector
from .onnx_detector import OnnxDetector
from .region_model import RegionModel
from .specification import read_specification
from .token_classifier import TokenClassifier

__all__ = ["kind_of_region_model"]

#: Hugging Face folders.
FOLDERS: tuple[type[RegionModel], ...] = (TokenClassifier, TransformerDetector)


def kind_of_region_model(path: Path) -> type[RegionModel] | None:
    """Return the kind of a model that finds regions; None where it answers for whole tasks.

    Raises
    ------
    SettingsError
        When its files cannot be read.
    """
    if not path.is_dir():
        finds_regions = read_specification(path).regions is not None
        if finds_regions and path.suffix.lower() != ".onnx":
            raise SettingsError(
                f"'{path.name}' is no ONNX file, and only these find regions; export it as ONNX"
            )
        return OnnxDetector if finds_regions else None
    names = read_json(path / "config.json").get("architectures") or [""]
    return next((kind for kind in FOLDERS if str(names[0]).endswith(kind.architecture)), None)
