"""Where operations put their nodes: a graph in the making."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_tflite.names import Names


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GraphPlace:
    """A graph to which nodes are appended; a `kernels.build.Place`.

    Attributes:
        graph: the graph.
        names: of all values and nodes of the model.
        appended: the nodes that were put there, in order.
    """

    graph: ir.Graph
    names: Names
    appended: list[ir.Node] = field(default_factory=list)

    def append(self, node: ir.Node) -> None:
        """Put a node behind those that are there."""
        self.graph.append(node)
        self.appended.append(node)

    def constant(self, name: str, array: NDArray[Any]) -> ir.Value:
        """A constant of the computation, which the graph holds itself."""
        unique = self.names.free(name)
        tensor = ir.Tensor(np.ascontiguousarray(array).reshape(array.shape), name=unique)
        value = ir.Value(
            name=unique, type=ir.TensorType(tensor.dtype), shape=tensor.shape, const_value=tensor
        )
        self.graph.register_initializer(value)
        return value

    def fresh(self, name: str) -> str:
        """The name, or one like it that nothing has."""
        return self.names.free(name)

    def identity(self, value: ir.Value, name: str) -> ir.Value:
        """A value of its own that is another."""
        node = ir.node("Identity", [value])
        node.name = self.fresh("Identity_node")
        copy = node.outputs[0]
        copy.name, copy.type, copy.shape = self.fresh(name), value.type, value.shape
        self.append(node)
        return copy
