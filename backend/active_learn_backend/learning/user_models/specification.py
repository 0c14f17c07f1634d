"""What the inputs of a model file are, by the JSON beside it (of model.onnx: model.onnx.json)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ...errors import SettingsError
from ...wording import first_fault

__all__ = [
    "BoxOutputs",
    "ImageInput",
    "InputSpecification",
    "NgramsInput",
    "ProcessorInput",
    "Specification",
    "TextInput",
    "TokensInput",
    "YoloOutput",
    "read_specification",
    "specification_path",
]

Positive = Annotated[int, Field(ge=1, le=1 << 20)]


class Strict(BaseModel):
    """Refuses what it does not know: a misspelt key is an error, not a default."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class ImageInput(Strict):
    """An image: resized, scaled, normalized.

    Attributes
    ----------
    name : str
        Of the model's input; may be left out where the model has one.
    size : (int, int)
        Height and width that images are resized to (bilinear).
    mode : {'RGB', 'L'}
        Three colors, or gray.
    scale : float
        Values 0 .. 255 are multiplied by it; then ``(value - mean) / std``, by channel or one for
        all.
    layout : {'nchw', 'nhwc', 'nhw'}
    dtype : {'float32', 'float16', 'uint8'}
    resample : {'bilinear', 'box'}
        How it is resized, by Pillow.
    fit : {'stretch', 'letterbox'}
        Whether its shape changes, or gray is put beside it (YOLO).
    same_image : bool
        Whether it is the image of the input before it again, and not the next one.
    """

    kind: Literal["image"]
    name: str = ""
    size: tuple[Positive, Positive]
    mode: Literal["RGB", "L"] = "RGB"
    scale: float = 1 / 255
    mean: list[float] = [0.0]
    std: list[Annotated[float, Field(gt=0)]] = [1.0]
    layout: Literal["nchw", "nhwc", "nhw"] = "nchw"
    dtype: Literal["float32", "float16", "uint8"] = "float32"
    resample: Literal["bilinear", "box"] = "bilinear"
    same_image: bool = False
    fit: Literal["stretch", "letterbox"] = "stretch"

    @model_validator(mode="after")
    def _fits_its_channels(self) -> ImageInput:
        channels = 3 if self.mode == "RGB" else 1
        if any(len(values) not in (1, channels) for values in (self.mean, self.std)):
            raise ValueError(f"mean and std need one number, or {channels} of mode {self.mode}")
        if self.layout == "nhw" and channels > 1:
            raise ValueError("layout nhw has no channels; set mode L")
        return self


class ProcessorInput(Strict):
    """An image, as a Hugging Face image processor prepares it (its ``pixel_values``).

    Attributes
    ----------
    processor : str
        Folder of the image processor, seen from the model file.
    name : str
        Of the model's input; may be left out where the model has one.
    """

    kind: Literal["processor"]
    processor: str
    name: str = ""


class TokensInput(Strict):
    """A text as tokens; gives every input of the model that is named as the tokenizer names it.

    Attributes
    ----------
    tokenizer : str
        Folder of a Hugging Face tokenizer, seen from the model file.
    texts : {1, 2}
        Texts of a task that are read: one, or a pair.
    max_length : int
        Tokens after which texts are cut.
    length : int, optional
        Tokens that every text is padded to, where the model takes no other number.
    prefix : str
        What stands before the tokenizer's names in those of the model's inputs.
    """

    kind: Literal["tokens"]
    tokenizer: str
    texts: Literal[1, 2] = 1
    max_length: Positive = 512
    length: Positive | None = None
    prefix: str = ""


class TextInput(Strict):
    """A text as it is, for ONNX models that take strings."""

    kind: Literal["text"]
    name: str = ""


class NgramsInput(Strict):
    """A text as hashed n-grams, as our embedded encoder of texts counts them.

    Gives two inputs, ``words`` and ``characters``: signed counts in 65,536 buckets each.

    Attributes
    ----------
    prefix : str
        What stands before those names.
    """

    kind: Literal["ngrams"]
    prefix: str = ""


InputSpecification = Annotated[
    ImageInput | ProcessorInput | TokensInput | TextInput | NgramsInput,
    Field(discriminator="kind"),
]


class BoxOutputs(Strict):
    """Boxes that a detector has chosen itself, each with a class.

    Attributes
    ----------
    boxes, scores, labels : str
        Names of its outputs, of shape (1, n, 4), (1, n) and (1, n), or without the 1: places,
        probabilities, and the indices of the classes.
    features : str
        Name of an output (1, n, d) that describes the boxes; without it their pixels do.
    format : {'xyxy', 'xywh', 'cxcywh'}
        Both corners, a corner and the size, or the center and the size.
    unit : {'pixel', 'share'}
        Pixels of the model's input, or shares of it.
    """

    kind: Literal["boxes"]
    boxes: str = "boxes"
    scores: str = "scores"
    labels: str = "labels"
    features: str = ""
    format: Literal["xyxy", "xywh", "cxcywh"] = "xyxy"
    unit: Literal["pixel", "share"] = "pixel"


class YoloOutput(Strict):
    """The one output of a YOLO, (1, 4 + K, N): center, size, and a probability for each class.

    Attributes
    ----------
    name : str
        Of the output; may be left out where the model has one.
    overlap : float
        Share of the union, from which the surer one of two boxes of one class is kept.
    unit : {'pixel', 'share'}
    """

    kind: Literal["yolo"]
    name: str = ""
    overlap: Annotated[float, Field(gt=0, le=1)] = 0.7
    unit: Literal["pixel", "share"] = "pixel"


class Specification(Strict):
    """Outputs and inputs of a model file.

    Attributes
    ----------
    labels : list of str
        Names of the classes, in the order of the outputs; empty in regression.
    inputs : list
        In the order of the labeling config: each reads the next image, or the next text or texts,
        that it shows.
    regions : BoxOutputs or YoloOutput, optional
        Of a detector: what its outputs are.
    """

    labels: list[str] = []
    inputs: Annotated[list[InputSpecification], Field(min_length=1)]
    regions: Annotated[BoxOutputs | YoloOutput, Field(discriminator="kind")] | None = None

    @property
    def folders(self) -> list[str]:
        """Names of the folders beside the model that hold tokenizers and image processors."""
        tokenizers = [one.tokenizer for one in self.inputs if isinstance(one, TokensInput)]
        return tokenizers + [
            one.processor for one in self.inputs if isinstance(one, ProcessorInput)
        ]


def specification_path(path: Path) -> Path:
    """Name the JSON beside a model file."""
    return path.with_name(path.name + ".json")


def read_specification(path: Path) -> Specification:
    """Read what the inputs of a model file are.

    Raises
    ------
    SettingsError
        When the JSON is missing or wrong; says where.
    """
    beside = specification_path(path)
    try:
        return Specification.model_validate_json(beside.read_bytes())
    except OSError as error:
        raise SettingsError(
            f"beside MODEL '{path.name}' there has to be '{beside.name}', which says what its "
            'inputs and labels are, such as {"labels": ["cat", "dog"], "inputs": [{"kind": '
            '"image", "size": [224, 224]}]}'
        ) from error
    except ValidationError as error:
        raise SettingsError(
            f"'{beside.name}' is wrong: {first_fault(error, 'the file')}"
        ) from error
