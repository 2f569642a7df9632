"""What a rule of the layout engine may ask of a node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.inspecting import is_weight, name_of
from w2e_bridge.ir.parts import AnyArray
from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.passes.layout.permutations import Perm, identity, to_first, to_last

SMALL = 1 << 16
"""Numbers that a shape, axes or paddings have at most."""

Dim = int | str | None
"""An extent: known, named, or unknown."""


def constant(value: ir.Value | None, tensors: Mapping[str, Tensor]) -> AnyArray | None:
    """The numbers of a small plain constant, None where a value is none."""
    if value is None:
        return None
    if is_weight(value):
        tensor = tensors.get(name_of(value))
        if tensor is None or tensor.encoding.quantized or tensor.elements > SMALL:
            return None
        return tensor.storage.parts(0, tensor.rows).codes.reshape(tensor.shape)
    held = value.const_value if value.is_initializer() else _held(value)
    return None if held is None or held.size > SMALL else held.numpy()


def _held(value: ir.Value) -> ir.TensorProtocol | None:
    node = value.producer()
    if node is None or node.op_type != "Constant" or node.domain:
        return None
    attribute = node.attributes.get("value")
    tensor = attribute is not None and attribute.type == ir.AttributeType.TENSOR
    return attribute.as_tensor() if attribute is not None and tensor else None


def is_constant(value: ir.Value | None) -> bool:
    """Whether a value is an initializer, no input that one may override."""
    return value is not None and value.is_initializer() and not value.is_graph_input()


def dims(value: ir.Value | None) -> tuple[Dim, ...] | None:
    """The shape of a value, None where not even its rank is known."""
    if value is None or value.shape is None:
        return None
    return tuple(d if isinstance(d, int) else d.value for d in value.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A node, and what stands around it.

    Attributes:
        node: the node.
        tensors: data of initializers by name.
        opset: version of the standard operators.
        last: whether the goal is channels last.
    """

    node: ir.Node
    tensors: Mapping[str, Tensor]
    opset: int
    last: bool

    def input(self, slot: int) -> ir.Value | None:
        """An input, None where it is left out."""
        return self.node.inputs[slot] if slot < len(self.node.inputs) else None

    def rank(self, slot: int) -> int | None:
        """Rank of an input."""
        shape = dims(self.input(slot))
        return None if shape is None else len(shape)

    @property
    def output_rank(self) -> int | None:
        """Rank of the first output."""
        shape = dims(self.node.outputs[0])
        return None if shape is None else len(shape)

    def integer(self, name: str, default: int) -> int:
        """An integer attribute."""
        attribute = self.node.attributes.get(name)
        return default if attribute is None or attribute.is_ref() else attribute.as_int()

    def integers(self, name: str) -> list[int] | None:
        """An attribute of integers, None where it is missing."""
        attribute = self.node.attributes.get(name)
        return None if attribute is None or attribute.is_ref() else list(attribute.as_ints())

    def numbers(self, slot: int) -> AnyArray | None:
        """The numbers of an input that is a constant."""
        return constant(self.input(slot), self.tensors)

    def axes(self, slot: int) -> list[int] | None:
        """Axes in an input that is a constant, counted from the front of the first input."""
        array, rank = self.numbers(slot), self.rank(0)
        if array is None or rank is None:
            return None
        return [int(a) + rank if a < 0 else int(a) for a in np.reshape(array, -1)]

    def natural(self, rank: int) -> tuple[Perm, ...]:
        """Permutations of that rank that there is a reason for, the likeliest first."""
        if rank < 3:
            return (identity(rank),)
        return (to_last(rank) if self.last else to_first(rank), identity(rank))
