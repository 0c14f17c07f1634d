"""Reading of ONNX files, which are untrusted.

Nothing is run here. A model is parsed by protobuf, checked by ``onnx.checker``, and external data
may lie beside the model only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto

from ..errors import ModelError, first_line

__all__ = ["all_tensors", "load_model", "serialize"]


def load_model(source: str | os.PathLike[str] | bytes | ModelProto) -> tuple[ModelProto, str]:
    """Return a model that was read and checked; its external data stays in its file.

    Returns
    -------
    model : ModelProto
        A copy, free to change.
    folder : str
        Where external data may lie; '' for bytes and ModelProto, which may have none.

    Raises
    ------
    ModelError
        When the file is missing, no ONNX, invalid, or points at data outside its folder.
    """
    folder = ""
    model = ModelProto()
    if isinstance(source, ModelProto):
        model.CopyFrom(source)
    else:
        if isinstance(source, bytes):
            content = source
        else:
            path = Path(source)
            folder = str(path.parent.resolve())
            try:
                content = path.read_bytes()
            except OSError as error:
                raise ModelError(
                    f"the ONNX file {str(path)!r} cannot be read: {error.strerror}"
                ) from error
        try:
            model.ParseFromString(content)
        except DecodeError as error:
            raise ModelError(
                f"no ONNX model: {len(content)} bytes do not parse; the file may be cut short"
            ) from error
    if not model.graph.node:
        raise ModelError("no ONNX model: its graph holds no nodes; the file may be cut short")
    external = False
    for tensor in all_tensors(model):
        external |= is_external(tensor, folder)
    try:
        # By its path the checker finds external data; a model over 2 GB has no other way.
        onnx.checker.check_model(os.fspath(source) if external else model)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ModelError(f"the ONNX model is invalid: {first_line(error)}") from error
    return model, folder


def all_tensors(model: ModelProto) -> Iterator[TensorProto]:
    """Yield every tensor of a model, also those in subgraphs, functions and attributes."""
    graphs: list[GraphProto] = [model.graph]
    nodes: list[NodeProto] = [node for function in model.functions for node in function.node]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            yield from graph.initializer
            for sparse in graph.sparse_initializer:
                yield from (sparse.values, sparse.indices)
            nodes.extend(graph.node)
            continue
        for attribute in nodes.pop().attribute:
            if attribute.type == AttributeProto.TENSOR:
                yield attribute.t
            yield from attribute.tensors
            graphs.extend([attribute.g] if attribute.HasField("g") else [])
            graphs.extend(attribute.graphs)


def is_external(tensor: TensorProto, folder: str) -> bool:
    """Return whether a tensor is in another file; refuse one outside the model's folder."""
    if tensor.data_location != TensorProto.EXTERNAL:
        return False
    fields = {entry.key: entry.value for entry in tensor.external_data}
    location = fields.get("location", "")
    if not folder:
        raise ModelError(
            f"tensor {tensor.name!r} of the ONNX model lies in another file ({location!r}); "
            "give the model by its path"
        )
    target = os.path.join(folder, location)
    plain = os.path.normpath(target)
    inside = plain.startswith(folder + os.sep) and os.path.realpath(target) == plain  # no links
    if not location or os.path.isabs(location) or not inside:
        raise ModelError(
            f"tensor {tensor.name!r} of the ONNX model points outside the model's folder "
            f"({location!r}); refused"
        )
    if not os.path.isfile(target):
        raise ModelError(f"external data {location!r} of the ONNX model is missing beside it")
    return True


def serialize(model: ModelProto) -> bytes:
    try:
        return model.SerializeToString()
    except ValueError as error:
        raise ModelError(
            "the ONNX model is over 2 GB in one piece; save it with external data and give its path"
        ) from error
