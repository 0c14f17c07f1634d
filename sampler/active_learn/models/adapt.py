"""The adapter of any kind of model."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import ModelError, ParameterError
from .base import Adapter
from .batched import BatchedAdapter
from .callable_model import CallableModel
from .embedding_heads import EmbeddingHead
from .torch_files import EXPORTED, read_exported
from .torch_module import TorchModule
from .torchscript import TORCHSCRIPT, read_torchscript

__all__ = ["adapt"]


def adapt(
    model: Any,
    *,
    layer: str | nn.Module | None = None,
    device: str | torch.device | None = None,
    batch_size: int | str = "auto",
) -> Adapter:
    """Return the adapter of a model of any known kind.

    Parameters
    ----------
    model : object
        A PyTorch module, TorchScript or exported program, or the path of a file of the latter two
        (.pt, .ts, .torchscript; .pt2); an ONNX model as path, bytes or ModelProto; the module or
        the ONNX model of a Hugging Face classifier with its processor, ``(model, tokenizer)`` or
        ``(model, image processor)``; a callable that returns ``(logits, embedding)``; or a
        `LinearHead`, which passes through.
    layer : str or nn.Module, optional
        The linear layer that gives the logits, where it cannot be found (PyTorch only).
    device : str or torch.device, optional
        Where to run the model; where it lies when omitted.
    batch_size : int or 'auto'
        Samples per call of the model; 'auto' halves it when memory runs out.

    Returns
    -------
    Adapter
        Called with any number of samples, it returns their `ModelOutput`.

    Raises
    ------
    ModelError
        When the model is of no known kind.
    ParameterError
        When ``layer`` is given for a model that is no PyTorch module.
    """
    if isinstance(model, BatchedAdapter) or (isinstance(model, EmbeddingHead) and layer is None):
        return model
    if isinstance(model, type):
        raise ModelError(f"the model is the class {model.__name__}; give an instance of it")
    if isinstance(model, torch.export.ExportedProgram):
        model = model.module()
    if isinstance(model, (str, os.PathLike)):
        model = read_torch_file(Path(model)) or model
    if isinstance(model, nn.Module):
        return TorchModule(model, layer=layer, device=device, batch_size=batch_size)
    if isinstance(model, tuple) and len(model) == 2 and isinstance(model[0], nn.Module):
        return adapt_transformer(*model, layer=layer, device=device, batch_size=batch_size)
    if layer is not None:
        raise ParameterError(
            "layer= names a linear layer of a PyTorch module; leave it out for other models"
        )
    if isinstance(model, tuple) and len(model) == 2 and is_onnx(model[0]):
        return adapt_onnx(*model, device=device, batch_size=batch_size)
    if is_onnx(model):
        from .onnx_model import OnnxModel

        return OnnxModel(model, device=device, batch_size=batch_size)
    if callable(model):
        return CallableModel(model, batch_size=batch_size)
    raise ModelError(
        f"a model of type {type(model).__name__} is not known; expected a PyTorch module, "
        "(model, tokenizer), a model file, a callable that returns (logits, embedding), "
        f"or a LinearHead{' (model.coef_, model.intercept_)' if hasattr(model, 'coef_') else ''}"
    )


def read_torch_file(path: Path) -> nn.Module | None:
    """Return the module of a TorchScript or torch.export file; None for other file names."""
    if path.suffix.lower() in TORCHSCRIPT:
        return read_torchscript(path)
    if path.suffix.lower() in EXPORTED:
        return read_exported(path)
    return None


def is_onnx(model: Any) -> bool:
    """Return whether a model is a file, its bytes or a ModelProto, without an import of onnx."""
    if isinstance(model, (str, os.PathLike, bytes)):
        return True
    return type(model).__name__ == "ModelProto" and type(model).__module__.startswith("onnx")


def adapt_transformer(model: nn.Module, processor: Any, **options: Any) -> Adapter:
    """Return the adapter of a model with its tokenizer or its image processor."""
    from .transformers_model import ImageTransformer, TextTransformer

    if reads_texts(processor):
        return TextTransformer(model, processor, **options)
    return ImageTransformer(model, processor, **options)


def adapt_onnx(source: Any, processor: Any, **options: Any) -> Adapter:
    """Return the adapter of an ONNX file with the tokenizer or image processor of its model."""
    from .onnx_transformers import ImageOnnx, TextOnnx

    if reads_texts(processor):
        return TextOnnx(source, processor, **options)
    return ImageOnnx(source, processor, **options)


def reads_texts(processor: Any) -> bool:
    """Return whether a processor is a tokenizer; if not, it is an image processor.

    Raises
    ------
    ModelError
        When it is neither.
    """
    # transformers takes seconds to import: only for those who use it, who have it loaded already.
    from transformers.image_processing_base import ImageProcessingMixin
    from transformers.tokenization_utils_base import PreTrainedTokenizerBase

    if isinstance(processor, PreTrainedTokenizerBase):
        return True
    if isinstance(processor, ImageProcessingMixin):
        return False
    raise ModelError(
        f"the model comes with a {type(processor).__name__}; expected its tokenizer or its "
        "image processor"
    )
