"""One node as it is written out: what a row of `recognise_operators_table` works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import Unrecognised, is_weight, name_of, only_output
from w2e_bridge.graph.qdq_parameters import DEQUANTIZE, QUANTIZE, numbers, small
from w2e_bridge.graph.qdq_values import HIDDEN, base_of_codes
from w2e_bridge.graph.weights import DTYPE_NAMES, DTYPES
from w2e_bridge.ir.parts import AnyArray
from w2e_bridge.ir.tensor import Tensor

Expand = Callable[["Expansion"], None]
"""Writes out one node; raises `Unrecognised` where the node is not of the kind that it knows."""


@dataclass(slots=True, kw_only=True)
class Expansion:
    """One node that is being written out.

    Nothing of the graph changes until `finish`.

    Attributes:
        node: the node.
        editor: its model.
        nodes: what will stand in its place.
        constants: small constants that those read.
    """

    node: ir.Node
    editor: Editor
    nodes: list[ir.Node] = field(default_factory=list)
    constants: list[tuple[ir.Value, Tensor]] = field(default_factory=list)

    @property
    def opset(self) -> int:
        """Version of the standard operators."""
        imports = self.editor.model.graph.opset_imports
        return imports.get("", imports.get("ai.onnx", 1))

    def add(
        self,
        op: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, object] | None = None,
    ) -> ir.Value:
        """Append a standard node of one output."""
        made = ir.node(op, inputs, attributes or {})  # type: ignore[arg-type]
        self.nodes.append(made)
        return made.outputs[0]

    def array(self, value: ir.Value | None) -> AnyArray:
        """The numbers of a small constant operand, or `Unrecognised`."""
        tensor = self.editor.constant(value)
        if tensor.encoding.quantized or tensor.elements > 1 << 16:
            raise Unrecognised("a constant of another kind")
        return numbers(tensor, whole=False)

    def constant(self, name: str, array: AnyArray, dtype: str | None = None) -> ir.Value:
        """A small constant of its own."""
        return self.tensor(small(name, array, dtype or str(array.dtype)))

    def tensor(self, tensor: Tensor) -> ir.Value:
        """A tensor as a constant of its own."""
        placeholder = ir.Value(name=tensor.name, type=ir.TensorType(DTYPES[tensor.dtype]))
        self.constants.append((placeholder, tensor))
        return placeholder

    def dequantized(
        self, codes: ir.Value, scale: ir.Value, zero: ir.Value | None, axis: int | None = None
    ) -> ir.Value:
        """What codes stand for; `axis` where there may be a scale for each index along it."""
        count = self.array(scale).size
        if axis is None and count != 1:
            raise Unrecognised("scales along an axis that is not known")
        inputs = [codes, scale, self.zeros(zero, count)]
        return self.add(DEQUANTIZE, inputs, {"axis": axis} if count > 1 else {})

    def zeros(self, zero: ir.Value | None, count: int) -> ir.Value | None:
        """A zero point for each of `count` scales, where there is one for all of them."""
        if zero is None or count == 1:
            return zero
        array = self.array(zero)
        if array.size != 1:
            return zero
        dtype = self.editor.constant(zero).dtype
        return self.constant(f"{name_of(zero)}.each", np.full(count, array.reshape(())), dtype)

    def finish(
        self, result: ir.Value, scale: ir.Value | None = None, zero: ir.Value | None = None
    ) -> None:
        """Put the nodes in the place of the old one.

        Args:
            result: the real value.
            scale: of the codes that the old node gives; None where it gives real values.
            zero: their zero point.
        """
        output, graph = only_output(self.node), self.node.graph
        if not isinstance(graph, ir.Graph):
            raise Unrecognised("inside a function")
        name, real = name_of(output), result
        if scale is not None:
            result = self.add(QUANTIZE, [real, scale, zero])
            real.type = None if scale.dtype is None else ir.TensorType(scale.dtype)
            real.shape = output.shape
            base = base_of_codes(name)
            plain = base != name and base not in self.editor.taken
            real.name = self.editor.free(base if plain else name + HIDDEN)
        result.type, result.shape = output.type, output.shape
        for node in self.nodes:
            for made in node.outputs:
                made.name = made.name or self.editor.free(f"{name}.{node.op_type.lower()}")
        self._register(graph)
        graph.insert_before(self.node, self.nodes)
        output.replace_all_uses_with(result, replace_graph_outputs=True)
        self.editor.drop([self.node])
        result.name = name
        self.editor.taken.add(name)

    def _register(self, graph: ir.Graph) -> None:
        for placeholder, tensor in self.constants:
            stub = self.editor.register(graph, tensor)
            placeholder.replace_all_uses_with(stub)


def dtype_of(value: ir.Value, editor: Editor) -> str | None:
    """Element type of a value where it is known."""
    if is_weight(value):
        tensor = editor.tensors.get(name_of(value))
        return None if tensor is None else tensor.dtype
    return None if value.dtype is None else DTYPE_NAMES.get(value.dtype)
