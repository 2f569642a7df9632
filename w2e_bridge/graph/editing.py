"""Edits of a graph and of the tensors beside it, so that the two never disagree."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import onnx_ir as ir

from w2e_bridge.graph.inspecting import Unrecognised, is_weight, name_of
from w2e_bridge.graph.weights import weight
from w2e_bridge.ir.tensor import Tensor


@dataclass(slots=True, kw_only=True)
class Editor:
    """A model that is being rewritten.

    Attributes:
        model: its graph.
        tensors: the data of the stubs; edited along with the graph.
        taken: names of all values.
        wanted: tensors that had to get another name, and the one that they would have.
    """

    model: ir.Model
    tensors: dict[str, Tensor]
    taken: set[str] = field(default_factory=set)
    wanted: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for graph in self.model.graphs():
            values = [*graph.inputs, *graph.initializers.values()]
            values += [output for node in graph for output in node.outputs]
            self.taken.update(name_of(value) for value in values)

    def constant(self, value: ir.Value | None) -> Tensor:
        """The tensor behind a value, or `Unrecognised`."""
        tensor = (
            self.tensors.get(name_of(value)) if value is not None and is_weight(value) else None
        )
        if value is None or tensor is None:
            raise Unrecognised("an input that is no constant")
        return tensor

    def nodes(self) -> list[ir.Node]:
        """All nodes of graphs, in order, those of functions aside."""
        return [node for graph in self.model.graphs() for node in graph]

    def free(self, name: str) -> str:
        """The name, or the next one that no value has."""
        unique, count = name, 1
        while unique in self.taken:
            count += 1
            unique = f"{name}#{count}"
        self.taken.add(unique)
        return unique

    def register(self, graph: ir.Graph, tensor: Tensor) -> ir.Value:
        """Add a tensor under its name, or the next one that is free, and give its stub."""
        name = self.free(tensor.name)
        if name != tensor.name:
            self.wanted[name] = tensor.name
        self.tensors[name] = replace(tensor, name=name)
        return weight(graph, self.tensors[name])

    def put(self, node: ir.Node, tensor: Tensor) -> ir.Value:
        """Put a tensor in the place of a node's only output, and drop the constants that only it read."""
        graph, output = node.graph, node.outputs[0]
        if not isinstance(graph, ir.Graph) or len(node.outputs) != 1:
            raise Unrecognised("inside a function")
        placeholder = ir.Value(name="", type=output.type, shape=output.shape)
        output.replace_all_uses_with(placeholder, replace_graph_outputs=True)
        self.drop([node])
        stub = self.register(graph, tensor)
        placeholder.replace_all_uses_with(stub, replace_graph_outputs=True)
        return stub

    def drop(self, nodes: Iterable[ir.Node]) -> None:
        """Take out nodes that nothing reads any more, then what only they read."""
        todo = list(nodes)
        while todo:
            node = todo.pop()
            if node.graph is None or any(o.uses() or o.is_graph_output() for o in node.outputs):
                continue
            read = [value for value in node.inputs if value is not None]
            self.taken.difference_update(name_of(output) for output in node.outputs)
            node.graph.remove(node, safe=True)
            todo.extend(maker for value in read if (maker := value.producer()) is not None)
            for value in read:
                self.drop_constant(value)

    def drop_constant(self, value: ir.Value) -> None:
        """Take out a constant that nothing reads any more."""
        graph = value.graph
        if graph is None or value.uses() or value.is_graph_output() or not value.is_initializer():
            return
        self.taken.discard(name_of(value))
        self.tensors.pop(name_of(value), None)
        graph.initializers.pop(name_of(value), None)
