"""Detection of the last linear layer in an ONNX graph, and exposure of its input and output."""

from __future__ import annotations

import re
from dataclasses import replace

import onnx
from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto, helper

from ..errors import ModelError
from .onnx_files import serialize
from .onnx_layers import Graph, LinearNodes, averaged, label, read_layer, scaled

__all__ = ["constant_part", "expose", "find_last_linear"]

# What may stand between the last linear layer and an output of the model.
PASSED_THROUGH = {
    "Softmax", "LogSoftmax", "Sigmoid", "ZipMap", "Identity", "Cast", "Squeeze", "Unsqueeze",
    "Flatten", "Reshape", "Dropout", "QuantizeLinear", "DequantizeLinear",
}  # fmt: skip
# What may stand only behind a classifier of scikit-learn.
PASSED_BEHIND_CLASSIFIER = {"Normalizer", "ArrayFeatureExtractor"}
# Of these nothing is known of what they were multiplied by.
ACTIVATIONS = {"Softmax", "LogSoftmax", "Sigmoid"}
# Where a decoder takes one token of the logits of all; the adapter finds out which.
TOKEN_PICKERS = {"Gather", "GatherND", "Slice"}
# How outputs are called that hold predictions, the surest first, and those that do not.
PREDICTIONS = (r"logits", r".*(logit|score|prob|predict).*")
OTHERS = re.compile(r".*(embed|hidden|feature|pool|attention|represent).*", re.IGNORECASE)
REMEDY = "name the output with the predictions 'logits' when you export it, or export it alone"


def find_last_linear(proto: GraphProto) -> LinearNodes:
    """Return the Gemm, or the MatMul and its Add, with a constant weight behind the predictions.

    Of several outputs it is the one that is named for what it holds; without such a name the only
    one that ends with a linear layer that no later layer reads.

    Raises
    ------
    ModelError
        When no output comes from one (the message names the node in the way and says why), or when
        several outputs do.
    """
    graph = Graph(proto)
    outputs, named = prediction_outputs(proto)
    found: dict[str, LinearNodes] = {}
    reasons = []
    for output in outputs:
        layer = walk_back(output.name, graph)
        if isinstance(layer, str):
            reasons.append(f"output {output.name!r}: {layer}")
            continue
        later = None if named else graph.later_layer(layer.logits)
        if later is not None:
            reasons.append(f"output {output.name!r}: node {label(later)} reads it; {REMEDY}")
            continue
        found.setdefault(layer.logits, layer)
    if not found:
        raise ModelError("no usable last linear layer in the ONNX graph; " + "; ".join(reasons))
    if len(found) > 1:
        several = ", ".join(repr(layer.output) for layer in found.values())
        raise ModelError(
            f"several outputs of the ONNX model end with a linear layer ({several}); {REMEDY}"
        )
    return next(iter(found.values()))


def prediction_outputs(graph: GraphProto) -> tuple[list[ValueInfoProto], bool]:
    """Return the outputs that may hold predictions, and whether they are named so."""
    for pattern in PREDICTIONS:
        named = [o for o in graph.output if re.fullmatch(pattern, o.name, re.IGNORECASE)]
        if named:
            return named, True
    others = [o for o in graph.output if not OTHERS.fullmatch(o.name)]
    return others or list(graph.output), False


def walk_back(output: str, graph: Graph) -> LinearNodes | str:
    """Return the linear layer behind one output, or the reason why there is none."""
    name, picks_token, behind_classifier = output, False, None
    pooled: NodeProto | None = None
    factors: list[tuple[str, str]] = []
    # A valid graph has no cycles, so this ends.
    while (node := graph.producers.get(name)) is not None:
        multiplied = graph.constant_factor(node)
        if multiplied is not None:  # a temperature
            name, factor = multiplied
            factors.append((node.op_type, factor))
            continue
        if node.op_type == "GlobalAveragePool":
            pooled, name = node, node.input[0]
            continue
        if node.op_type in ACTIVATIONS and factors:
            return f"the result of node {label(node)} is multiplied, so it holds no probabilities"
        if node.op_type in PASSED_THROUGH | TOKEN_PICKERS | PASSED_BEHIND_CLASSIFIER:
            picks_token |= node.op_type in TOKEN_PICKERS
            if node.op_type in PASSED_BEHIND_CLASSIFIER:
                behind_classifier = node
            name = node.input[0]
            continue
        found = read_layer(node, graph)
        if isinstance(found, str):
            found = read_sum(node, graph) or found
        if isinstance(found, str):
            return found
        if behind_classifier is not None and node.op_type != "LinearClassifier":
            return read_layer(behind_classifier, graph)  # says that it is in the way
        if pooled is not None and node.op_type != "Conv":
            return read_layer(pooled, graph)
        found = found if pooled is None else averaged(found)
        return replace(scaled(found, factors), output=output, picks_token=picks_token)
    return "it is an input or a constant, not computed by a layer"


def read_sum(node: NodeProto, graph: Graph) -> LinearNodes | None:
    """Return the heads whose results a node adds as one layer that reads all their inputs.

    None where it adds anything else. The mean of heads, as distilled models have, is their sum and
    a constant factor.
    """
    producers = [graph.producers.get(name) for name in node.input]
    heads = [read_layer(one, graph) for one in producers if one is not None]
    plain = [
        head
        for head in heads
        if isinstance(head, LinearNodes) and not head.nodes and head.alpha == head.beta == 1
    ]
    if node.op_type != "Add" or len(plain) != len(node.input):
        return None
    nodes, weights = [], []
    for number, head in enumerate(plain):
        weights.append(head.weight if head.transposed else f"active_learn.weight.{number}")
        if not head.transposed:
            nodes.append(helper.make_node("Transpose", [head.weight], weights[-1:], perm=[1, 0]))
    biases = [head.bias for head in plain if head.bias is not None]
    embeddings = [head.embedding for head in plain]
    nodes += [
        helper.make_node("Concat", embeddings, ["active_learn.embedding"], axis=-1),
        helper.make_node("Concat", weights, ["active_learn.weight"], axis=1),
        *([helper.make_node("Sum", biases, ["active_learn.bias"])] if biases else []),
    ]
    return LinearNodes(
        node=" + ".join(head.node for head in plain),
        embedding="active_learn.embedding",
        logits=node.output[0],
        weight="active_learn.weight",
        bias="active_learn.bias" if biases else None,
        transposed=True,
        nodes=nodes,
    )


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
