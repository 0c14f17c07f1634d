"""Nodes of ONNX graphs that are linear layers, in the forms that exporters and quantizers write."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from .onnx_advice import advice

__all__ = ["Graph", "LinearNodes", "averaged", "label", "read_layer", "scaled"]

# Nodes with weights of their own: what they read is no output of the last layer.
WEIGHTED = {
    "Gemm", "MatMul", "Conv", "MatMulInteger", "ConvInteger", "QLinearMatMul", "QLinearConv",
    "QGemm", "LinearClassifier", "LinearRegressor",
}  # fmt: skip
QUANTIZED = {
    "QLinearMatMul", "QGemm", "QLinearAdd", "DynamicQuantizeMatMul", "MatMulIntegerToFloat",
}  # fmt: skip
UNTRANSFORMED = ("NONE", "SOFTMAX", "LOGISTIC")


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
    nodes : list of NodeProto
        To be added to the graph: they compute those of the tensors that it lacks.
    initializers : list of TensorProto
        Likewise.
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
    nodes: list[NodeProto] = field(default_factory=list)
    initializers: list[TensorProto] = field(default_factory=list)

    def add_to(self, graph: GraphProto) -> None:
        """Add to the graph what computes the tensors that it lacks."""
        graph.node.extend(self.nodes)
        graph.initializer.extend(self.initializers)


class Graph:
    """A graph's nodes by what they compute, and the tensors that are constant.

    Parameters
    ----------
    graph : GraphProto
    """

    def __init__(self, graph: GraphProto) -> None:
        self.proto = graph
        self.producers = {name: node for node in graph.node for name in node.output if name}
        self.constants = constant_names(graph)

    def producer(self, name: str, *kinds: str) -> NodeProto | None:
        """Return the node that computes a tensor, where it is of one of these kinds."""
        node = self.producers.get(name)
        return node if node is not None and node.op_type in kinds else None

    def before_rounding(self, name: str) -> str:
        """Return the tensor that a quantizer rounds to this one."""
        back = self.producer(name, "DequantizeLinear")
        there = self.producer(back.input[0], "QuantizeLinear") if back else None
        return there.input[0] if there else name

    def constant_factor(self, node: NodeProto) -> tuple[str, str] | None:
        """Return what a node multiplies or divides, and the constant by which; None of others."""
        if node.op_type not in ("Mul", "Div"):
            return None
        name, factor = node.input
        if node.op_type == "Mul" and name in self.constants:
            name, factor = factor, name
        return (name, factor) if factor in self.constants and name not in self.constants else None

    def later_layer(self, name: str) -> NodeProto | None:
        """Return a node with weights that reads a tensor, or what comes of it."""
        reached = {name}
        for node in self.proto.node:  # in topological order
            if reached.intersection(node.input):
                if node.op_type in WEIGHTED:
                    return node
                reached.update(node.output)
        return None


def constant_names(graph: GraphProto) -> set[str]:
    """Return the tensors that do not depend on the model's input."""
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {sparse.values.name for sparse in graph.sparse_initializer}
    for node in graph.node:  # in topological order
        subgraphs = any(a.HasField("g") or a.graphs for a in node.attribute)
        if not subgraphs and all(name in constants for name in node.input if name):
            constants.update(node.output)
    return constants


def read_layer(node: NodeProto, graph: Graph) -> LinearNodes | str:
    """Return the linear layer that ends with a node, or the reason why there is none."""
    if node.op_type == "Gemm":
        return read_gemm(node, graph)
    if node.op_type in ("MatMul", "Add", "Mul"):
        return read_matmul(node, graph)
    if node.op_type == "Conv":
        return read_convolution(node, graph)
    if node.op_type in ("LinearClassifier", "LinearRegressor"):
        return read_scikit_learn(node)
    if node.op_type in QUANTIZED:
        return (
            f"node {label(node)} is quantized in a form that hides its input; quantize in the QDQ "
            "format, or leave the last linear layer out by nodes_to_exclude"
        )
    return (
        f"node {label(node)} stands where a Gemm or MatMul + Add was expected; "
        f"{advice(graph.proto, node.op_type)}"
    )


def read_gemm(node: NodeProto, graph: Graph) -> LinearNodes | str:
    attributes = attributes_of(node)
    bias = node.input[2] if len(node.input) > 2 and node.input[2] else None
    if node.input[1] not in graph.constants or (bias and bias not in graph.constants):
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


def read_matmul(node: NodeProto, graph: Graph) -> LinearNodes | str:
    last, bias, added = node, None, []
    if node.op_type == "Add":
        biases = [name for name in node.input if name in graph.constants]
        sums = [graph.before_rounding(name) for name in node.input if name not in graph.constants]
        product = graph.producer(sums[0], "MatMul", "Mul") if len(sums) == 1 else None
        if not biases or product is None:
            return (
                f"node {label(node)} does not add a constant bias to a MatMul; "
                f"{advice(graph.proto, node.op_type)}"
            )
        if sums[0] not in node.input:  # logits are to be exact, so without the rounding between
            last = helper.make_node("Add", [sums[0], biases[0]], ["active_learn.logits"])
            added = [last]
        node, bias = product, biases[0]
    if node.op_type == "Mul":
        return read_dynamic_quantization(node, last, bias, graph)
    if node.input[1] not in graph.constants:
        return f"the weight of node {label(node)} is computed, not constant"
    return LinearNodes(label(node), node.input[0], last.output[0], node.input[1], bias, nodes=added)


def read_convolution(node: NodeProto, graph: Graph) -> LinearNodes | str:
    """Return a 1x1 convolution; its maps, of one pixel, are made rows."""
    attributes = attributes_of(node)
    numbers = {*attributes.get("kernel_shape", [0]), *attributes.get("strides", [1])}
    if numbers != {1} or any(attributes.get("pads", [])) or attributes.get("group", 1) != 1:
        return f"node {label(node)} is no 1x1 convolution, which would be a linear layer"
    if not graph.constants.issuperset(node.input[1:]):
        return f"the weight or bias of node {label(node)} is computed, not constant"
    names = [f"active_learn.{name}" for name in ("embedding", "weight", "logits")]
    sources = [node.input[0], node.input[1], node.output[0]]
    return LinearNodes(
        node=label(node),
        embedding=names[0],
        logits=names[2],
        weight=names[1],
        bias=node.input[2] if len(node.input) > 2 and node.input[2] else None,
        transposed=True,
        nodes=[helper.make_node("Flatten", [s], [n]) for s, n in zip(sources, names, strict=True)],
    )


def averaged(layer: LinearNodes) -> LinearNodes:
    """Return the convolution whose maps are averaged over their pixels, before and behind it."""
    nodes = [
        node
        if node.output[0] == layer.weight
        else helper.make_node("Flatten", [f"{node.output[0]}.mean"], [node.output[0]])
        for node in layer.nodes
    ]
    means = [
        helper.make_node("GlobalAveragePool", [node.input[0]], [f"{node.output[0]}.mean"])
        for node in layer.nodes
        if node.output[0] != layer.weight
    ]
    return replace(layer, nodes=[*means, *nodes])


def scaled(layer: LinearNodes, factors: Sequence[tuple[str, str]]) -> LinearNodes:
    """Return the layer whose logits are multiplied or divided by constants.

    Parameters
    ----------
    layer : LinearNodes
    factors : sequence of (operator, name of the constant)
        ``Mul`` or ``Div``, the last one first.
    """
    for operator, factor in reversed(factors):
        bias = None if layer.bias is None else f"{layer.bias}.scaled"
        logits, weight = f"{layer.logits}.scaled", f"{layer.weight}.scaled"
        results = {logits: layer.logits, weight: layer.weight}
        if bias is not None and layer.bias is not None:
            results[bias] = layer.bias
        nodes = [helper.make_node(operator, [name, factor], [to]) for to, name in results.items()]
        layer = replace(
            layer, logits=logits, weight=weight, bias=bias, nodes=[*layer.nodes, *nodes]
        )
    return layer


def read_dynamic_quantization(
    node: NodeProto, last: NodeProto, bias: str | None, graph: Graph
) -> LinearNodes | str:
    """Return a layer of integers as ONNX Runtime's ``quantize_dynamic`` writes it.

    Its product is of quantized inputs, so these are the embedding: ``scale (input - zero point)``.
    """
    cast = [graph.producer(name, "Cast") for name in node.input]
    scale = [graph.producer(name, "Mul") for name in node.input]
    product = next((graph.producer(one.input[0], "MatMulInteger") for one in cast if one), None)
    scales = next((one for one in scale if one), None)
    source = graph.producer(product.input[0], "DynamicQuantizeLinear") if product else None
    complete = product and source and len(product.input) == 4 and len(source.output) == 3
    if product is None or source is None or scales is None or not complete:
        return f"node {label(node)} stands where a Gemm or MatMul + Add was expected"
    constant = [name for name in scales.input if name in graph.constants]
    if product.input[1] not in graph.constants or len(constant) != 1:
        return f"the weight of node {label(product)} is computed, not constant"
    x, scale_x, zero_x = source.output
    return LinearNodes(
        node=label(product),
        embedding="active_learn.embedding",
        logits=last.output[0],
        weight="active_learn.weight",
        bias=bias,
        nodes=[
            *dequantize(x, zero_x, scale_x, "active_learn.embedding"),
            *dequantize(product.input[1], product.input[3], constant[0], "active_learn.weight"),
        ],
    )


def dequantize(values: str, zero: str, scale: str, output: str) -> list[NodeProto]:
    """Return the nodes that compute ``scale (values - zero)``, per column where these have many."""
    return [
        helper.make_node("Cast", [values], [f"{output}.values"], to=TensorProto.FLOAT),
        helper.make_node("Cast", [zero], [f"{output}.zero"], to=TensorProto.FLOAT),
        helper.make_node("Sub", [f"{output}.values", f"{output}.zero"], [f"{output}.centred"]),
        helper.make_node("Mul", [f"{output}.centred", scale], [output]),
    ]


def read_scikit_learn(node: NodeProto) -> LinearNodes | str:
    """Return a LinearClassifier or LinearRegressor, whose weights are attributes.

    A binary classifier has the rows -w and w; the logit of its second class is read alone.
    """
    attributes = attributes_of(node)
    transform = attributes.get("post_transform", b"NONE").decode(errors="replace")
    if transform not in UNTRANSFORMED:
        return f"node {label(node)} transforms its logits by {transform}; expected a softmax"
    bias = np.array(attributes.get("intercepts", ()), dtype=np.float32)
    flat = np.array(attributes.get("coefficients", ()), dtype=np.float32)
    n_rows = len(bias) or int(attributes.get("targets", 1))
    if n_rows < 1 or not len(flat) or len(flat) % n_rows:
        return f"node {label(node)} has {len(flat)} coefficients of {n_rows} outputs"
    weight: np.ndarray = flat.reshape(n_rows, -1)
    bias = bias if len(bias) else np.zeros(n_rows, dtype=np.float32)
    binary = n_rows == 2 and node.op_type == "LinearClassifier" and transform != "SOFTMAX"
    if binary and np.array_equal(weight[0], -weight[1]) and bias[0] == -bias[1]:
        weight, bias = weight[1:], bias[1:]
    names = [f"active_learn.{name}" for name in ("embedding", "weight", "bias", "logits")]
    return LinearNodes(
        node=label(node),
        embedding=names[0],
        logits=names[3],
        weight=names[1],
        bias=names[2],
        transposed=True,
        nodes=[
            helper.make_node("Cast", [node.input[0]], [names[0]], to=TensorProto.FLOAT),
            helper.make_node("Gemm", names[:3], [names[3]], transB=1),
        ],
        initializers=[
            numpy_helper.from_array(weight, names[1]),
            numpy_helper.from_array(bias, names[2]),
        ],
    )


def attributes_of(node: NodeProto) -> Mapping[str, Any]:
    return {one.name: helper.get_attribute_value(one) for one in node.attribute}


def label(node: NodeProto) -> str:
    """Return a node's name for a message; ONNX allows nodes without a name."""
    return f"{node.name or node.output[0]!r} ({node.op_type})"
