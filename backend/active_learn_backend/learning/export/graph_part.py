"""Parts of an ONNX graph, written node by node or taken from another model, put into one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper
from onnx import numpy_helper as arrays

from ...errors import SettingsError
from ..user_models.specification import InputSpecification

__all__ = ["OPSET", "GraphPart", "Nodes", "part_of_model"]

OPSET = 17
LEAST_OPSET = 13  # that has all operators of a head in the form in which they are written here


class Nodes:
    """The nodes of a part while it is written; each name begins with a prefix."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self.inputs: list[ValueInfoProto] = []

    def input(self, name: str, *shape: int) -> str:
        """Add an input of the model, float32 of shape (n, ...); its name has no prefix."""
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *shape]))
        return name

    def constant(self, value: npt.ArrayLike, dtype: Any = np.float32) -> str:
        """Add a constant, and return its name."""
        name = f"{self._prefix}constant_{len(self.constants)}"
        self.constants.append(arrays.from_array(np.asarray(value, dtype), name))
        return name

    def add(self, operator: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        """Add a node, and return the name of its output."""
        output = name or f"{self._prefix}{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, [*inputs], [output], **attributes))
        return output

    def length(self, vectors: str, least: float) -> str:
        """Add the length of each vector (the last axis), or a least one where it is shorter."""
        squares = self.add("Mul", vectors, vectors)
        total = self.add("ReduceSum", squares, self.constant([-1], np.int64), keepdims=1)
        return self.add("Max", self.add("Sqrt", total), self.constant(least))

    def unit(self, vectors: str, least: float) -> str:
        """Add vectors in unit length."""
        return self.add("Div", vectors, self.length(vectors, least))


@dataclass(frozen=True)
class GraphPart:
    """The part of the graph that makes vectors of the content of some fields.

    Attributes
    ----------
    nodes, constants, inputs : list
        Of the graph.
    output : str
        Name of the vectors, float32 of shape (n, d).
    specifications : list
        What its inputs are, for the JSON beside the model.
    opsets : mapping
        Versions of the operators, by domain.
    functions : list
        Functions of the model that nodes call.
    save_files : callable
        Writes into a folder what prepares its inputs (tokenizers, image processors).
    """

    nodes: Sequence[NodeProto]
    constants: Sequence[TensorProto]
    inputs: Sequence[ValueInfoProto]
    output: str
    specifications: Sequence[InputSpecification]
    opsets: Mapping[str, int] = field(default_factory=lambda: {"": OPSET})
    functions: Sequence[Any] = ()
    save_files: Callable[[Path], None] = lambda folder: None

    @classmethod
    def of_nodes(
        cls, nodes: Nodes, output: str, specifications: Sequence[InputSpecification]
    ) -> GraphPart:
        """Return the part of nodes that were written here."""
        return cls(nodes.nodes, nodes.constants, nodes.inputs, output, specifications)

    def followed_by(self, nodes: Nodes, output: str) -> GraphPart:
        """Return this part with further nodes behind it."""
        return replace(
            self,
            nodes=[*self.nodes, *nodes.nodes],
            constants=[*self.constants, *nodes.constants],
            output=output,
        )


def part_of_model(
    model: ModelProto,
    output: str,
    specifications: Sequence[InputSpecification],
    save_files: Callable[[Path], None],
    *,
    prefix: str = "",
) -> GraphPart:
    """Return the part of a model that computes one of its tensors.

    Parameters
    ----------
    prefix : str
        What the names of its inputs begin with from now on.

    Raises
    ------
    SettingsError
        When its operators are of a version that cannot be converted.
    """
    versions = {one.domain: one.version for one in model.opset_import}
    if versions.get("", OPSET) < LEAST_OPSET:
        model = _converted(model, versions[""])
    names = {one.name: prefix + one.name for one in model.graph.input}
    own = [name for node in model.graph.node for name in node.output if name]
    own += [tensor.name for tensor in model.graph.initializer]
    names |= {name: f"{prefix}encoder_{name}" for name in own}
    _rename(model.graph, names)
    output = names[output]
    needed = _nodes_before(model.graph, output)
    read = {output, *(name for node in needed for name in _names_read(node))}
    constants = [tensor for tensor in model.graph.initializer if tensor.name in read]
    read -= {tensor.name for tensor in constants}  # which old models list as inputs too
    return GraphPart(
        needed,
        constants,
        [one for one in model.graph.input if one.name in read],
        output,
        specifications,
        {one.domain: one.version for one in model.opset_import},
        list(model.functions),
        save_files,
    )


def _rename(graph: GraphProto, names: Mapping[str, str]) -> None:
    """Rename the tensors of a graph, also where its subgraphs read them; nodes lose their names."""
    for node in graph.node:
        node.ClearField("name")
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for inner in _subgraphs(node):
            _rename(inner, names)
    for one in (*graph.input, *graph.output, *graph.initializer):
        one.name = names.get(one.name, one.name)


def _converted(model: ModelProto, version: int) -> ModelProto:
    try:
        return onnx.version_converter.convert_version(model, OPSET)
    except Exception as error:  # the converter raises RuntimeError and others
        raise SettingsError(
            f"MODEL is of ONNX opset {version}, which cannot be converted; export it again with "
            f"opset {OPSET} or newer"
        ) from error


def _nodes_before(graph: GraphProto, output: str) -> list[NodeProto]:
    """Return the nodes that a tensor depends on, in their order."""
    wanted, found = {output}, []
    for node in reversed(graph.node):  # in topological order
        if wanted.intersection(node.output):
            found.append(node)
            wanted.update(_names_read(node))
    return found[::-1]


def _names_read(node: NodeProto) -> set[str]:
    """Return what a node reads, in its subgraphs too."""
    names = {name for name in node.input if name}
    for graph in _subgraphs(node):
        names |= {name for inner in graph.node for name in _names_read(inner)}
        names |= {one.name for one in graph.output}
    return names


def _subgraphs(node: NodeProto) -> list[GraphProto]:
    """Return the subgraphs of a node, such as the branches of a condition."""
    return [
        graph
        for attribute in node.attribute
        for graph in [*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs]
    ]
