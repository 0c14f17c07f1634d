"""Detection of the last linear layer in an ONNX graph, and exposure of its input and output.

Nothing is run here. A model file is untrusted: it is parsed by protobuf, checked by
``onnx.checker``, and external data may lie beside the model only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper

from ..errors import ModelError

__all__ = ["LinearNodes", "expose", "find_last_linear", "load_model"]

# What may stand between the last linear layer and an output of the model.
PASSED_THROUGH = {
    "Softmax", "LogSoftmax", "Sigmoid", "ZipMap", "Identity", "Cast", "Squeeze", "Unsqueeze",
    "Flatten", "Reshape", "Dropout",
}  # fmt: skip
# Where a decoder takes one token of the logits of all; the adapter finds out which.
TOKEN_PICKERS = {"Gather", "GatherND", "Slice"}


@dataclass(frozen=True)
class LinearNodes:
    """The last linear layer by the names of its tensors.

    The logits are ``alpha * embedding @ weight + beta * bias``, where a ``transposed`` weight is
    stored as (K, d) and any other as (d, K).

    Attributes
    ----------
    node : str
        The node's name and operator, for messages.
    embedding, logits, weight : str
    bias : str or None
    alpha, beta : float
    transposed : bool
    output : str
        The model's output that the layer leads to.
    picks_token : bool
        Whether the way there takes one token of the logits of all.
    """

    node: str
    embedding: str
    logits: str
    weight: str
    bias: str | None
    alpha: float = 1.0
    beta: float = 1.0
    transposed: bool = False
    output: str = ""
    picks_token: bool = False


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


def find_last_linear(graph: GraphProto) -> LinearNodes:
    """Return the Gemm, or the MatMul and its Add, with a constant weight behind the outputs.

    Raises
    ------
    ModelError
        When no output comes from one; the message names the node in the way and says why.
    """
    producers = {name: node for node in graph.node for name in node.output if name}
    constants = constant_names(graph)
    reasons = []
    for output in graph.output:
        found = walk_back(output.name, producers, constants)
        if isinstance(found, LinearNodes):
            return found
        reasons.append(f"output {output.name!r}: {found}")
    raise ModelError("no usable last linear layer in the ONNX graph; " + "; ".join(reasons))


def walk_back(
    output: str, producers: dict[str, NodeProto], constants: set[str]
) -> LinearNodes | str:
    """Return the linear layer behind one output, or the reason why there is none."""
    name, picks_token = output, False
    # A valid graph has no cycles, so this ends.
    while (node := producers.get(name)) is not None:
        if node.op_type in PASSED_THROUGH | TOKEN_PICKERS:
            picks_token |= node.op_type in TOKEN_PICKERS
            name = node.input[0]
            continue
        if node.op_type == "Gemm":
            found = read_gemm(node, constants)
        elif node.op_type in ("MatMul", "Add"):
            found = read_matmul(node, producers, constants)
        else:
            return (
                f"node {label(node)} stands where a Gemm or MatMul + Add was expected; "
                "export the model so that it ends with its linear layer"
            )
        if isinstance(found, LinearNodes):
            return replace(found, output=output, picks_token=picks_token)
        return found
    return "it is an input or a constant, not computed by a layer"


def read_gemm(node: NodeProto, constants: set[str]) -> LinearNodes | str:
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
    if node.input[1] not in constants or (bias and bias not in constants):
        return f"the weight or bias of node {label(node)} is computed, not constant"
    if attributes.get("transA", 0):
        return f"node {label(node)} transposes its input (transA=1), so rows are not samples"
    return LinearNodes(
        node=label(node),
        embedding=node.input[0],
        logits=node.output[0],
        weight=node.input[1],
        bias=bias,
        alpha=float(attributes.get("alpha", 1.0)),
        beta=float(attributes.get("beta", 1.0)),
        transposed=bool(attributes.get("transB", 0)),
    )


def read_matmul(
    node: NodeProto, producers: dict[str, NodeProto], constants: set[str]
) -> LinearNodes | str:
    last, bias = node, None
    if node.op_type == "Add":
        biases = [name for name in node.input if name in constants]
        sums = [name for name in node.input if name not in constants]
        product = producers.get(sums[0]) if len(sums) == 1 else None
        if not biases or product is None or product.op_type != "MatMul":
            return f"node {label(node)} does not add a constant bias to a MatMul"
        node, bias = product, biases[0]
    if node.input[1] not in constants:
        return f"the weight of node {label(node)} is computed, not constant"
    return LinearNodes(label(node), node.input[0], last.output[0], node.input[1], bias)


def constant_names(graph: GraphProto) -> set[str]:
    """Return the tensors that do not depend on the model's input."""
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {sparse.values.name for sparse in graph.sparse_initializer}
    for node in graph.node:  # in topological order
        subgraphs = any(a.HasField("g") or a.graphs for a in node.attribute)
        if not subgraphs and all(name in constants for name in node.input if name):
            constants.update(node.output)
    return constants


def expose(model: ModelProto, names: list[str]) -> bytes:
    """Return a serialized model with some of its tensors as further outputs."""
    exposed = ModelProto()
    exposed.CopyFrom(model)
    known = {output.name for output in exposed.graph.output}
    for name in names:
        if name not in known:
            exposed.graph.output.append(onnx.ValueInfoProto(name=name))
    return serialize(exposed)


def constant_part(model: ModelProto, names: list[str]) -> bytes:
    """Return the model, without inputs, that computes some constant tensors.

    Its outputs stand in the order of ``names``.
    """
    graph = model.graph
    wanted, nodes = set(names), []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            nodes.append(node)
            wanted.update(node.input)
    part = ModelProto(
        ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions
    )
    part.graph.name = "constants"
    part.graph.initializer.extend(t for t in graph.initializer if t.name in wanted)
    part.graph.sparse_initializer.extend(
        t for t in graph.sparse_initializer if t.values.name in wanted
    )
    part.graph.node.extend(reversed(nodes))
    for i, name in enumerate(names):
        # Through an Identity: an initializer itself is no valid output.
        part.graph.node.append(helper.make_node("Identity", [name], [f"constant_{i}"]))
        part.graph.output.append(onnx.ValueInfoProto(name=f"constant_{i}"))
    return serialize(part)


def serialize(model: ModelProto) -> bytes:
    try:
        return model.SerializeToString()
    except ValueError as error:
        raise ModelError(
            "the ONNX model is over 2 GB in one piece; save it with external data and give its path"
        ) from error


def label(node: NodeProto) -> str:
    """Return a node's name for a message; ONNX allows nodes without a name."""
    return f"{node.name or node.output[0]!r} ({node.op_type})"


def first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
