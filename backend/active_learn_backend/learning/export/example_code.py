"""The example beside an exported model: short code that prepares one task and runs the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..user_models.specification import (
    ImageInput,
    InputSpecification,
    NgramsInput,
    ProcessorInput,
    TextInput,
    TokensInput,
)

__all__ = ["example_code", "packages_of"]

BEGIN = '''"""Answer for one task: python example.py {arguments}

It needs: pip install {packages}
"""

import json
import sys
from pathlib import Path

{imports}

folder = Path(__file__).parent
session = onnxruntime.InferenceSession(folder / "model.onnx")
feed = {{}}
{preparation}
feed = {{node.name: feed[node.name] for node in session.get_inputs()}}
'''
ANSWERS = {
    "classification": """labels = json.loads((folder / "model.onnx.json").read_text())["labels"]
shares = session.run(["probabilities"], feed)[0][0]
print(json.dumps({"label": labels[shares.argmax()], "probability": float(shares.max())}))
""",
    "multilabel": """labels = json.loads((folder / "model.onnx.json").read_text())["labels"]
shares = session.run(["probabilities"], feed)[0][0].tolist()
chosen = [label for label, share in zip(labels, shares) if share >= 0.5]
print(json.dumps({"labels": chosen, "probabilities": dict(zip(labels, shares))}))
""",
    "regression": """number = session.run(["prediction"], feed)[0][0, 0]
print(json.dumps({"number": float(number)}))
""",
}
IMPORTS = {
    "tokens": "from transformers import AutoTokenizer",
    "processor": "from PIL import Image, ImageOps\nfrom transformers import AutoImageProcessor",
    "image": "from PIL import Image, ImageOps",
    "ngrams": "from sklearn.feature_extraction.text import HashingVectorizer",
}
PACKAGES = {
    "tokens": ["transformers"],
    "processor": ["transformers", "pillow"],
    "image": ["pillow"],
    "ngrams": ["scikit-learn"],
}


def packages_of(inputs: Sequence[InputSpecification]) -> list[str]:
    """Return the packages that the example needs."""
    return sorted({"numpy", "onnxruntime"}.union(*(PACKAGES.get(one.kind, []) for one in inputs)))


def example_code(inputs: Sequence[InputSpecification], problem_type: str) -> str:
    """Return the example as the text of a Python file.

    Parameters
    ----------
    inputs : sequence
        What the inputs of the model are.
    """
    lines: list[str] = []
    arguments: list[str] = []
    for one in inputs:
        lines += _preparation(one, arguments)
    imports = {line for one in inputs for line in IMPORTS.get(one.kind, "").splitlines()}
    imports |= {"import numpy as np", "import onnxruntime"}
    ordered = sorted(imports, key=lambda line: (line.split()[1].lower(), line))
    return (
        BEGIN.format(
            arguments=" ".join(arguments),
            packages=" ".join(packages_of(inputs)),
            imports="\n".join(ordered),
            preparation="\n".join(lines),
        )
        + ANSWERS[problem_type]
    )


def _preparation(one: InputSpecification, arguments: list[str]) -> list[str]:
    """Return the lines that prepare an input; adds the arguments of the example that it reads."""

    def argument(kind: str) -> str:
        arguments.append(kind)
        return f"sys.argv[{len(arguments)}]"

    if isinstance(one, TokensInput):
        texts = ", ".join(argument("TEXT") for _ in range(one.texts))
        padded = ', padding="max_length"' if one.length else ""
        name = f'"{one.prefix}" + name' if one.prefix else "name"
        return [
            f'tokenizer = AutoTokenizer.from_pretrained(folder / "{one.tokenizer}")',
            f"options = dict(truncation=True, max_length={one.length or one.max_length}{padded})",
            f'tokens = tokenizer({texts}, return_tensors="np", **options)',
            f"feed |= {{{name}: tokens[name].astype(np.int64) for name in tokens}}",
        ]
    if isinstance(one, NgramsInput):
        options = "n_features=2**16, norm=None"
        return [
            f"words = HashingVectorizer(ngram_range=(1, 2), {options})",
            "characters = HashingVectorizer(",
            f'    analyzer="char_wb", ngram_range=(3, 5), {options}',
            ")",
            f"text = {argument('TEXT')}",
            f'feed["{one.prefix}words"] = words.transform([text]).toarray().astype(np.float32)',
            f'feed["{one.prefix}characters"] = '
            "characters.transform([text]).toarray().astype(np.float32)",
        ]
    if isinstance(one, TextInput):
        return [f'feed["{one.name}"] = np.array([{argument("TEXT")}], dtype=object)']
    lines = []
    if isinstance(one, ProcessorInput) or not one.same_image:
        opened = f"ImageOps.exif_transpose(Image.open({argument('IMAGE')}))"
        lines = [f'image = {opened}.convert("RGB")']
    if isinstance(one, ProcessorInput):
        return [
            *lines,
            f'processor = AutoImageProcessor.from_pretrained(folder / "{one.processor}")',
            f'feed["{one.name}"] = processor(images=image, return_tensors="np")["pixel_values"]',
        ]
    return lines + _pixels(one)


def _pixels(one: ImageInput) -> list[str]:
    height, width = one.size
    resized = f"resize(({width}, {height}), Image.Resampling.{one.resample.upper()})"
    channels = "" if one.layout == "nhw" else ", -1"
    lines = [
        f'pixels = np.asarray(image.convert("{one.mode}").{resized})',
        f"pixels = pixels.reshape(1, {height}, {width}{channels})",
    ]
    if one.dtype != "uint8":
        numbers: dict[str, Any] = {"scale": one.scale, "mean": one.mean, "std": one.std}
        if numbers != {"scale": 1.0, "mean": [0.0], "std": [1.0]}:
            lines.append(
                f"pixels = (pixels * {one.scale!r} - np.array({one.mean})) / np.array({one.std})"
            )
        lines.append(f"pixels = pixels.astype(np.{one.dtype})")
    if one.layout == "nchw":
        lines.append("pixels = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))")
    return [*lines, f'feed["{one.name}"] = pixels']
