"""ONNX classifiers and regressors, from a path, bytes or a ModelProto."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import onnxruntime as ort
import torch
from onnx import ModelProto

from ..errors import DataError, ModelError, ParameterError, first_line
from .base import ModelOutput
from .batched import BatchedAdapter, is_out_of_memory
from .collate import as_tensor, collate
from .last_layer import pick_token
from .linear_check import require_linear
from .onnx_files import load_model
from .onnx_graph import constant_part, expose, find_last_linear
from .onnx_layers import LinearNodes

__all__ = ["OnnxModel"]

Arguments = tuple[tuple[Any, ...], dict[str, Any]]  # of an adapter, by position and by name
NUMPY_TYPES = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(double)": np.float64,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(int8)": np.int8,
    "tensor(uint8)": np.uint8,
    "tensor(bool)": np.bool_,
}


class Input(NamedTuple):
    """An input of the model; ``shape`` holds numbers, or names of free dimensions."""

    name: str
    type: str
    shape: tuple[int | str | None, ...]


class OnnxModel(BatchedAdapter):
    """An ONNX model that ends with a Gemm, a MatMul and its Add, or a linear model of scikit-learn.

    Softmax, LogSoftmax, Sigmoid, ZipMap, Cast, quantization and changes of shape may follow it. The
    layer's input and output become outputs of a copy of the graph, which ONNX Runtime runs. Of
    several outputs of the model, the one called ``logits`` holds the predictions.

    Parameters
    ----------
    source : str, path, bytes or ModelProto
        External data must lie beside the model's file.
    device : str or torch.device, optional
        'cpu' (when omitted) or 'cuda', which needs onnxruntime-gpu.
    batch_size : int or 'auto'
        A model of fixed batch size has its own; the last batch is filled up with copies.

    Attributes
    ----------
    input_names : tuple of str
        The model's inputs, in its order.
    scales_by_batch : bool
        Whether it is quantized by the range of a batch, so that its results depend on what else is
        in it.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | bytes | ModelProto,
        *,
        device: str | torch.device | None = None,
        batch_size: int | str = "auto",
    ) -> None:
        super().__init__(batch_size)
        self._made_from: Arguments = (source,), {"device": device, "batch_size": batch_size}
        model, folder = load_model(source)
        self._nodes = find_last_linear(model.graph)
        self.layer_name = self._nodes.node
        self._nodes.add_to(model.graph)
        self._head = read_head(model, self._nodes, folder)
        self._outputs = [self._nodes.embedding, self._nodes.logits]
        if self._nodes.picks_token:
            self._outputs.append(self._nodes.output)
        provider = execution_provider(device)
        self._session = open_session(expose(model, self._outputs), folder, provider)
        self._inputs = read_inputs(self._session)
        self.input_names = tuple(node.name for node in self._inputs)
        self._fixed_size = fixed_batch_size(self._inputs)
        operators = {node.op_type for node in model.graph.node}
        self.scales_by_batch = "DynamicQuantizeLinear" in operators
        if self._fixed_size is not None:
            self._batch_size.fix(self._fixed_size, halves=False)
        elif self.scales_by_batch:  # results would depend on how fast the machine is
            self._batch_size.fix(self.batch_size, halves=True)

    def __reduce__(self) -> tuple[Any, ...]:
        return _open_again, (type(self), *self._made_from)  # a session cannot be pickled

    def _forward(self, samples: Any) -> ModelOutput:
        feed = self._feed(samples)
        n_samples = len(next(iter(feed.values())))
        if self._fixed_size is not None:
            feed = {name: fill_up(values, self._fixed_size) for name, values in feed.items()}
        try:
            outputs = self._session.run(self._outputs, feed)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise ModelError(f"ONNX Runtime failed on a batch: {first_line(error)}") from error
        embedding, logits, *rest = (torch.from_numpy(np.atleast_1d(o)) for o in outputs)
        if self._nodes.picks_token:
            embedding, logits = self._picked(embedding, logits, rest[0])
        embedding, dtype = embedding[:n_samples], logits.dtype
        logits = logits[:n_samples]
        if logits.ndim != 2 or embedding.ndim != 2:
            raise ModelError(
                f"node {self._nodes.node} gives logits of shape {tuple(logits.shape)}; "
                "expected (n, outputs), one row a sample"
            )
        self.weight, self.bias = self._head
        logits, embedding = logits.float(), embedding.float()
        require_linear(
            logits,
            embedding,
            self.weight,
            self.bias,
            dtype,
            f"node {self._nodes.node}",
            "export the model so that it ends with its linear layer",
        )
        return ModelOutput(logits, embedding)

    def _picked(
        self, embedding: torch.Tensor, logits: torch.Tensor, output: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the outputs of the token that the model uses."""
        token = None
        if logits.ndim == 3 and output.ndim == 2:
            token = pick_token(logits, output)
        if token is None:
            raise ModelError(
                f"the output {self._nodes.output!r} of shape {tuple(output.shape)} is no row of "
                f"the logits of node {self._nodes.node}, of shape {tuple(logits.shape)}; "
                "export the model without what follows that node"
            )
        rows = torch.arange(len(token))
        return embedding[rows, token], logits[rows, token]

    def _feed(self, samples: Any) -> dict[str, np.ndarray]:
        """Return the model's inputs by their names."""
        columns = collate(samples)
        names = [node.name for node in self._inputs]
        if isinstance(columns, Mapping):
            missing = [name for name in names if name not in columns]
            if missing:
                raise DataError(
                    f"samples lack the ONNX model's input {missing[0]!r}; they have "
                    f"{', '.join(map(repr, columns))}"
                )
            columns = tuple(columns[name] for name in names)
        elif not isinstance(columns, tuple):
            columns = (columns,)
        if len(columns) < len(names):
            raise DataError(
                f"the ONNX model takes {len(names)} inputs ({', '.join(names)}); "
                f"samples have {len(columns)}"
                + ("; for texts give (file, tokenizer)" if "input_ids" in names else "")
            )
        return {
            node.name: to_numpy(column, node)
            for node, column in zip(self._inputs, columns, strict=False)
        }


def _open_again(kind: type[OnnxModel], given: Any, options: dict[str, Any]) -> OnnxModel:
    return kind(*given, **options)


def read_inputs(session: ort.InferenceSession) -> list[Input]:
    """Return the inputs of the model."""
    try:
        return [Input(node.name, node.type, tuple(node.shape)) for node in session.get_inputs()]
    except UnicodeDecodeError as error:
        raise ModelError(f"a name in the ONNX model is no text: {error}") from error


def to_numpy(column: Any, node: Input) -> np.ndarray:
    """Return one input in the type that the model declares."""
    if node.type == "tensor(string)":
        texts = np.asarray(column, dtype=object)
        return texts.reshape(len(texts), *(-1 for _ in node.shape[1:]))
    dtype = NUMPY_TYPES.get(node.type)
    if dtype is None:
        raise ModelError(f"input {node.name!r} of the ONNX model is {node.type}; not supported")
    tensor = as_tensor(column).cpu()
    values = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
    if np.issubdtype(values.dtype, np.floating) and not np.issubdtype(dtype, np.floating):
        raise DataError(
            f"input {node.name!r} of the ONNX model takes {np.dtype(dtype)}; "
            f"samples are {values.dtype}"
        )
    shape = node.shape
    fits = len(shape) == values.ndim and all(
        not isinstance(size, int) or size == values.shape[i + 1] for i, size in enumerate(shape[1:])
    )
    if shape and not fits:
        raise DataError(
            f"input {node.name!r} of the ONNX model takes shape {shape}; "
            f"samples have {('n', *values.shape[1:])}"
        )
    return np.ascontiguousarray(values, dtype=dtype)


def read_head(model: ModelProto, nodes: LinearNodes, folder: str) -> tuple[Any, Any]:
    """Compute the constant weight (K, d) and bias (K,) of the layer."""
    names = [nodes.weight, *([nodes.bias] if nodes.bias else [])]
    session = open_session(constant_part(model, names), folder, "CPUExecutionProvider")
    try:
        with np.errstate(invalid="ignore"):  # a NaN is reported where the logits are checked
            weight, *bias = (np.asarray(v, dtype=np.float64) for v in session.run(None, {}))
    except Exception as error:
        raise ModelError(
            f"the weight or bias of node {nodes.node} cannot be read: {first_line(error)}"
        ) from error
    if weight.ndim != 2:
        raise ModelError(
            f"the weight of node {nodes.node} has shape {weight.shape}; expected two dimensions"
        )
    weight = nodes.alpha * (weight if nodes.transposed else weight.T)
    try:
        flat = np.broadcast_to(bias[0] if bias else 0.0, (1, len(weight)))[0] * nodes.beta
    except ValueError as error:
        raise ModelError(
            f"the bias of node {nodes.node} has shape {bias[0].shape}; expected ({len(weight)},)"
        ) from error
    return torch.from_numpy(weight).float(), torch.from_numpy(flat).float()


def execution_provider(device: str | torch.device | None) -> str:
    kind = "cpu" if device is None else str(device).partition(":")[0]
    provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}.get(kind)
    if provider is None or provider not in ort.get_available_providers():
        raise ParameterError(
            f"device {str(device)!r} cannot run ONNX models here; ONNX Runtime has "
            f"{', '.join(ort.get_available_providers())} (for 'cuda' install onnxruntime-gpu)"
        )
    return provider


def open_session(content: bytes, folder: str, provider: str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4  # what matters is raised
    # By default activations that meet an int8 weight are rounded to int8 too: off by 1 %.
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    if folder:
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", folder
        )
    try:
        return ort.InferenceSession(content, options, providers=[provider])
    except Exception as error:
        raise ModelError(f"ONNX Runtime refuses the model: {first_line(error)}") from error


def fixed_batch_size(inputs: list[Input]) -> int | None:
    """Return the batch size that the inputs declare; None where it is free."""
    sizes = {node.shape[0] for node in inputs if node.shape and isinstance(node.shape[0], int)}
    if len(sizes) > 1:
        raise ModelError(
            f"the inputs of the ONNX model declare different batch sizes: {sorted(sizes)}"
        )
    return sizes.pop() if sizes else None


def fill_up(values: np.ndarray, size: int) -> np.ndarray:
    """Return a batch with its last row repeated up to the batch size of the model."""
    return np.concatenate([values, np.repeat(values[-1:], size - len(values), axis=0)])
