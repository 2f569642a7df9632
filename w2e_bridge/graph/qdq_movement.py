"""Operators that do the same to codes as to the numbers that they stand for, one row each.

They copy codes, choose among codes, or compare them; a scale is positive, so that the order of codes is that
of numbers (onnx/onnx docs/Operators.md; what they take as inputs there, `int8` and `uint8` included).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from w2e_bridge.graph.inspecting import STANDARD

_NEAREST = (
    "half_pixel",
    "half_pixel_symmetric",
    "pytorch_half_pixel",
    "align_corners",
    "asymmetric",
)


def _text(node: ir.Node, name: str, default: str) -> str:
    attribute = node.attributes.get(name)
    if attribute is None:
        return default
    known = not attribute.is_ref() and attribute.type == ir.AttributeType.STRING
    return attribute.as_string() if known else ""


def _nearest(node: ir.Node) -> bool:
    """Copies codes, and none of them from outside of the image."""
    way = _text(node, "coordinate_transformation_mode", "half_pixel")
    return _text(node, "mode", "nearest") == "nearest" and way in _NEAREST


def _picks(node: ir.Node) -> bool:
    return _text(node, "reduction", "none") in ("none", "min", "max")


def _outside(node: ir.Node) -> bool:
    """Pads with one number, or with codes that are there."""
    return _text(node, "mode", "constant") in ("constant", "reflect", "edge", "wrap")


@dataclass(frozen=True, slots=True, kw_only=True)
class Movement:
    """What of an operator is codes.

    Attributes:
        data: inputs that are codes of one quantization; () = all inputs.
        outputs: outputs that are codes of that quantization too; None = all outputs.
        numbers: inputs that hold one code each and become real numbers (bounds, what is padded with), and
            the code that is meant where one is left out, None = nothing is.
        holds: whether a node is of this kind at all.
    """

    data: tuple[int, ...] = (0,)
    outputs: tuple[int, ...] | None = (0,)
    numbers: Mapping[int, int | None] = field(default_factory=dict, hash=False)
    holds: Callable[[ir.Node], bool] = lambda node: True

    def inputs_of(self, node: ir.Node) -> list[int]:
        """Indices of the inputs of a node that are codes."""
        return [
            index
            for index, value in enumerate(node.inputs)
            if value is not None and (not self.data or index in self.data)
        ]

    def outputs_of(self, node: ir.Node) -> list[ir.Value]:
        """The outputs of a node that are codes."""
        if self.outputs is None:
            return list(node.outputs)
        return [node.outputs[index] for index in self.outputs if index < len(node.outputs)]


_ONE, _EACH = Movement(), Movement(data=())
_SCATTER = Movement(data=(0, 2), holds=_picks)
_INDICES = Movement(outputs=())
_COMPARED = Movement(data=(0, 1), outputs=())

_ROWS: Mapping[Movement, tuple[str, ...]] = {
    _ONE: (
        "Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Expand", "Tile", "Slice",
        "DepthToSpace", "SpaceToDepth", "Gather", "GatherND", "GatherElements", "Compress",
        "ReverseSequence", "MaxPool", "ReduceMax", "ReduceMin", "TopK", "Relu",
    ),
    Movement(outputs=None): ("Split",),
    _EACH: ("Concat", "Max", "Min"),
    Movement(data=(1, 2)): ("Where",),
    _SCATTER: ("ScatterElements", "ScatterND"),
    Movement(holds=_nearest): ("Resize",),
    _INDICES: ("ArgMax", "ArgMin", "Shape", "Size"),
    _COMPARED: ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"),
}  # fmt: skip

MOVEMENTS: Mapping[str, Movement] = {
    **{op: row for row, ops in _ROWS.items() for op in ops},
    "Pad": Movement(numbers={2: 0}, holds=_outside),
    "Clip": Movement(numbers={1: None, 2: None}),
}
"""Standard operators by name."""


def movement_of(node: ir.Node) -> Movement | None:
    """The row of a node, None where it computes with codes or has no row."""
    row = MOVEMENTS.get(node.op_type) if node.domain in STANDARD else None
    return row if row is not None and row.holds(node) else None
