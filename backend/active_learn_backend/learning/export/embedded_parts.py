"""The embedded encoders of texts and images as parts of an ONNX graph.

What they do first has no operator in ONNX and stays outside of the graph: the n-grams of a text are
hashed and counted, and an image is resized by Pillow. All that follows is in the graph.
"""

from __future__ import annotations

import numpy as np

from ..encoders.gradients import ImageEncoder
from ..encoders.ngrams import N_BUCKETS, projections
from ..user_models.specification import ImageInput, NgramsInput
from .graph_part import GraphPart, Nodes

__all__ = ["gradients_part", "ngrams_part"]


def ngrams_part(prefix: str) -> GraphPart:
    """Return the part of `TextEncoder`: counts are damped, projected and brought to unit length."""
    nodes = Nodes(f"{prefix}ngrams_")
    halves = []
    for name, projection in zip(("words", "characters"), projections(), strict=True):
        counts = nodes.input(prefix + name, N_BUCKETS)
        damped = nodes.add(
            "Mul",
            nodes.add("Sign", counts),
            nodes.add("Log", nodes.add("Add", nodes.add("Abs", counts), nodes.constant(1.0))),
        )
        # One byte a number in the file: they are -1, 0 and 1.
        weights = nodes.add("Cast", nodes.constant(projection, np.int8), to=1)
        projected = nodes.add("MatMul", damped, weights)
        halves.append(nodes.unit(projected, 1e-12))
    total = nodes.add("Div", nodes.add("Add", *halves), nodes.constant(2**0.5))
    return GraphPart.of_nodes(nodes, total, [NgramsInput(kind="ngrams", prefix=prefix)])


def gradients_part(prefix: str) -> GraphPart:
    """Return the part of `ImageEncoder`: of a thumbnail and a gray image."""
    nodes = Nodes(f"{prefix}image_")
    thumb, side = ImageEncoder.thumb, ImageEncoder.side
    thumbnail = nodes.input(f"{prefix}thumbnail", thumb, thumb, 3)
    gray = nodes.input(f"{prefix}gray", side, side)
    flat = nodes.add("Flatten", thumbnail)
    mean = nodes.add("ReduceMean", flat, axes=[1], keepdims=1)
    colors = nodes.unit(nodes.add("Sub", flat, mean), 1e-6)
    shapes = nodes.unit(_histograms(nodes, gray), 1e-6)
    return GraphPart.of_nodes(
        nodes,
        nodes.add("Concat", colors, shapes, axis=1),
        [
            ImageInput(
                kind="image",
                name=f"{prefix}thumbnail",
                size=(thumb, thumb),
                scale=1.0,
                layout="nhwc",
                resample="box",
            ),
            ImageInput(
                kind="image",
                name=f"{prefix}gray",
                size=(side, side),
                mode="L",
                scale=1.0,
                layout="nhw",
                same_image=True,
            ),
        ],
    )


def _histograms(nodes: Nodes, gray: str) -> str:
    """Add the histograms of gradients of gray images (n, side, side)."""
    side, cells, bins = ImageEncoder.side, ImageEncoder.cells, ImageEncoder.bins
    differences = np.gradient(np.eye(side), axis=0)  # as a matrix: np.gradient is linear
    dy = nodes.add("MatMul", nodes.constant(differences), gray)
    dx = nodes.add("MatMul", gray, nodes.constant(differences.T))
    squares = nodes.add("Add", nodes.add("Mul", dx, dx), nodes.add("Mul", dy, dy))
    strength = nodes.add("Unsqueeze", nodes.add("Sqrt", squares), nodes.constant([3], np.int64))
    # An angle without a sign, in units of bins; a vertical one has the quotient ±infinity.
    level = nodes.add("Equal", dx, nodes.constant(0.0))
    slope = nodes.add("Div", dy, nodes.add("Where", level, nodes.constant(1e-30), dx))
    angle = nodes.add("Mul", nodes.add("Atan", slope), nodes.constant(bins / np.pi))
    angle = nodes.add("Unsqueeze", angle, nodes.constant([3], np.int64))
    # A vote is shared by the two nearest bins, in a circle.
    far = nodes.add("Abs", nodes.add("Sub", angle, nodes.constant(np.arange(bins))))
    other = nodes.add("Abs", nodes.add("Sub", far, nodes.constant(float(bins))))
    share = nodes.add("Sub", nodes.constant(1.0), nodes.add("Min", far, other))
    votes = nodes.add("Mul", strength, nodes.add("Relu", share))
    size = side // cells
    shape = nodes.constant([-1, cells, size, cells, size, bins], np.int64)
    sums = nodes.add(
        "ReduceSum",
        nodes.add("Reshape", votes, shape),
        nodes.constant([2, 4], np.int64),
        keepdims=0,
    )
    corners = [_corner(nodes, sums, row, column) for row in (0, 1) for column in (0, 1)]
    blocks = nodes.add("Concat", *corners, axis=3)
    lengths = nodes.add("Add", nodes.length(blocks, 0.0), nodes.constant(1e-3))
    return nodes.add("Flatten", nodes.add("Div", blocks, lengths))


def _corner(nodes: Nodes, cells: str, row: int, column: int) -> str:
    """Add one cell of each block of 2 x 2."""
    starts = nodes.constant([row, column], np.int64)
    ends = nodes.constant([ImageEncoder.cells - 1 + row, ImageEncoder.cells - 1 + column], np.int64)
    return nodes.add("Slice", cells, starts, ends, nodes.constant([1, 2], np.int64))
