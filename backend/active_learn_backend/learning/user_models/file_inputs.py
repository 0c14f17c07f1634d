"""Turns tasks into the inputs of a model file, as its specification says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from ...errors import SettingsError
from ...labeling.config import Field
from ..encoders.images import open_image, pixels_of
from ..encoders.ngrams import count_ngrams
from .base import Inputs
from .specification import (
    ImageInput,
    NgramsInput,
    ProcessorInput,
    Specification,
    TextInput,
    TokensInput,
)

__all__ = ["FileInputs", "fitted", "pixels"]

Array = npt.NDArray[Any]


class FileInputs(Inputs):
    """The inputs of an ONNX, TorchScript or torch.export file.

    Parameters
    ----------
    specification : Specification
    input_names : sequence of str
        Of the model, in its order.
    folder : Path
        Where the model file lies; tokenizers are looked for from there.

    Raises
    ------
    SettingsError
        When the model has an input that the specification does not give, or a tokenizer cannot
        be loaded.
    """

    def __init__(
        self,
        specification: Specification,
        input_names: Sequence[str],
        folder: Path,
    ) -> None:
        self._inputs = specification.inputs
        self._names = tuple(input_names)
        self._tokenizers = {
            spec.tokenizer: _load_processor(folder, spec.tokenizer, "text")
            for spec in self._inputs
            if isinstance(spec, TokensInput)
        }
        self._processors = {
            spec.processor: _load_processor(folder, spec.processor, "image")
            for spec in self._inputs
            if isinstance(spec, ProcessorInput)
        }
        self._check_names()

    def choose(self, fields: tuple[Field, ...]) -> tuple[Field, ...]:
        left = {kind: [f for f in fields if f.kind == kind] for kind in ("image", "text")}
        chosen = []
        for spec in self._inputs:
            if isinstance(spec, ImageInput) and spec.same_image:
                continue
            kind = "image" if isinstance(spec, ImageInput | ProcessorInput) else "text"
            wanted = spec.texts if isinstance(spec, TokensInput) else 1
            if len(left[kind]) < wanted:
                raise SettingsError(
                    f"MODEL has an input of kind '{spec.kind}', and the labeling config shows no "
                    f"further {kind}; correct the JSON beside the model, or the labeling config"
                )
            chosen += left[kind][:wanted]
            left[kind] = left[kind][wanted:]
        return tuple(chosen)

    def prepare(self, fields: Sequence[Field], raws: Sequence[str | bytes]) -> dict[str, Any]:
        left = list(raws)
        values: dict[str, Any] = {}
        image = Image.new("RGB", (1, 1))
        for spec in self._inputs:
            if isinstance(spec, TokensInput):
                texts = [str(left.pop(0)) for _ in range(spec.texts)]
                values |= self._tokens(spec, texts)
            elif isinstance(spec, NgramsInput):
                counts = count_ngrams([str(left.pop(0))])
                values |= {name: counts[part][0] for name, part in _ngram_names(spec).items()}
            elif isinstance(spec, TextInput):
                values[self._name(spec)] = np.array([left.pop(0)], dtype=object)
            else:
                if isinstance(spec, ProcessorInput) or not spec.same_image:
                    file = left.pop(0)
                    assert isinstance(file, bytes)
                    image = open_image(file)
                values[self._name(spec)] = self._pixels(spec, image)
        return values

    def collate(self, prepared: Sequence[dict[str, Any]]) -> Any:
        columns = [pad([values[name] for values in prepared]) for name in self._names]
        return columns[0] if len(columns) == 1 else tuple(columns)

    def _tokens(self, spec: TokensInput, texts: list[str]) -> dict[str, Array]:
        limit = spec.length or spec.max_length
        encoded = self._tokenizers[spec.tokenizer](
            *texts,
            truncation=True,
            max_length=limit,
            padding="max_length" if spec.length else False,
        )
        named = {spec.prefix + name: tokens for name, tokens in encoded.items()}
        return {name: np.array(named[name], np.int64) for name in self._names if name in named}

    def _pixels(self, spec: ImageInput | ProcessorInput, image: Image.Image) -> Array:
        if isinstance(spec, ImageInput):
            return pixels(image, spec)
        found: Array = pixels_of(self._processors[spec.processor], image)["pixel_values"].numpy()
        return found

    def _name(self, spec: ImageInput | ProcessorInput | TextInput) -> str:
        return spec.name or self._names[0]

    def _check_names(self) -> None:
        """Compare what the specification gives with what the model takes."""
        given: list[str] = []
        for spec in self._inputs:
            if isinstance(spec, TokensInput):
                names = [spec.prefix + name for name in self._tokenizers[spec.tokenizer]("a")]
                given += [name for name in names if name in self._names]
                if not spec.length and f"{spec.prefix}attention_mask" not in self._names:
                    raise SettingsError(
                        "MODEL takes tokens and no attention_mask, so texts cannot be padded; "
                        "export it with that input, or give 'length' in the JSON beside it"
                    )
            elif isinstance(spec, NgramsInput):
                given += _ngram_names(spec)
            else:
                given.append(self._name(spec))
        if sorted(given) != sorted(self._names):
            raise SettingsError(
                f"MODEL takes {', '.join(self._names)}, and the JSON beside it gives "
                f"{', '.join(given) or 'nothing'}; name each input of the model once"
            )


def pixels(image: Image.Image, spec: ImageInput) -> Array:
    """Resize, scale and normalize one image, without the batch's dimension."""
    height, width = spec.size
    resample = Image.Resampling[spec.resample.upper()]
    inner, (left, top) = fitted(image, spec)
    resized = image.convert(spec.mode).resize(inner, resample)
    if inner != (width, height):
        canvas = Image.new(spec.mode, (width, height), "#727272")
        canvas.paste(resized, (left, top))
        resized = canvas
    if spec.dtype == "uint8":
        values: Array = np.asarray(resized, np.uint8).reshape(height, width, -1)
    else:
        values = np.asarray(resized, np.float32).reshape(height, width, -1) * spec.scale
        values = ((values - np.array(spec.mean)) / np.array(spec.std)).astype(spec.dtype)
    if spec.layout == "nchw":
        return np.ascontiguousarray(values.transpose(2, 0, 1))
    return values[:, :, 0] if spec.layout == "nhw" else values


def fitted(image: Image.Image, spec: ImageInput) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the width and height that an image gets in the input, and where its corner lies."""
    height, width = spec.size
    if spec.fit == "stretch":
        return (width, height), (0, 0)
    scale = min(width / image.width, height / image.height)
    inner = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return inner, ((width - inner[0]) // 2, (height - inner[1]) // 2)


def pad(rows: list[Array]) -> Array:
    """Stack rows; sequences of tokens get zeros up to the longest, which the mask leaves out."""
    longest = max(len(row) for row in rows)
    if rows[0].ndim == 1 and rows[0].dtype == np.int64:
        rows = [np.pad(row, (0, longest - len(row))) for row in rows]
    return np.stack(rows)


def _ngram_names(spec: NgramsInput) -> dict[str, int]:
    """Name the inputs that n-grams give, with the place of each among what is counted."""
    return {f"{spec.prefix}words": 0, f"{spec.prefix}characters": 1}


def _load_processor(folder: Path, name: str, kind: Literal["image", "text"]) -> Any:
    path = folder / name
    if not path.is_dir() or not path.resolve().is_relative_to(folder.resolve()):
        what = "tokenizer" if kind == "text" else "image processor"
        raise SettingsError(
            f"the {what} '{name}' of MODEL is no folder beside it; write it there by "
            "save_pretrained"
        )
    # transformers takes seconds to import: only for those who use it.
    from ..encoders.hugging_face import load_processor

    return load_processor(path, kind)
