"""One operation of a channels-last runtime: the unit in which integer kernels round, and are replaced.

A kind is named as TensorFlow Lite names its builtin operator, in lower case ("conv_2d"); its attributes
are named as the fields of that operator's options (tensorflow/compiler/mlir/lite/schema/schema.fbs, snake
case), enumerations by their upper-case names (`padding` "SAME"). Inputs stand in TensorFlow Lite's order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

Attribute = str | int | float | bool | bytes | tuple[int, ...] | tuple[float, ...] | tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Constant:
    """A small constant operand that the canonical graph says another way (an attribute, an int64 array).

    Attributes:
        array: its numbers, in the type that the runtime wants (axes and shapes: int32).
        name: what to call it.
    """

    array: NDArray[np.generic]
    name: str


Operand = ir.Value | Constant | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Operation:
    """One operation.

    Attributes:
        kind: "conv_2d"; of a custom operator "custom:NAME".
        inputs: operands; None where an optional one is left out. Weights are initializers of the graph.
        outputs: values.
        attributes: of the kind.
        graphs: bodies of control flow, by role ("then", "else", "cond", "body").
        nodes: the canonical nodes that it stands for; empty where it was read from a file.
    """

    kind: str
    inputs: tuple[Operand, ...]
    outputs: tuple[ir.Value, ...]
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    graphs: Mapping[str, ir.Graph] = field(default_factory=dict)
    nodes: tuple[ir.Node, ...] = ()

    def input(self, index: int) -> Operand:
        """An operand, None where it is left out."""
        return self.inputs[index] if index < len(self.inputs) else None

    def text(self, name: str, default: str = "NONE") -> str:
        """An attribute that is an enumeration's name."""
        value = self.attributes.get(name, default)
        return value if isinstance(value, str) else default

    def integer(self, name: str, default: int = 0) -> int:
        """An attribute that is a whole number or a truth value."""
        value = self.attributes.get(name, default)
        return int(value) if isinstance(value, bool | int) else default

    def number(self, name: str, default: float = 0.0) -> float:
        """An attribute that is a real number."""
        value = self.attributes.get(name, default)
        return float(value) if isinstance(value, bool | int | float) else default


def kind_of_custom(name: str) -> str:
    """The kind of a custom operator."""
    return f"custom:{name}"
