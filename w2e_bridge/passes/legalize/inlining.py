"""Calls of model-local functions that no kernel is, as the nodes of their bodies."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx_ir as ir

from w2e_bridge.graph.inspecting import STANDARD, name_of
from w2e_bridge.kernels.table import by_root, root_of
from w2e_bridge.passes.legalize.place import Work

Attributes = Mapping[str, ir.Attr]


def inline(work: Work) -> bool:
    """Put the bodies of functions in the places of their calls; whether there were any.

    before: a call of a function of the model, but of those that are kernels by their name.
    after: copies of the nodes of its body; what they call is looked at in the next round.
    why exact: a call means its body (onnx/onnx docs/IR.md).
    """
    model, changed = work.editor.model, False
    for graph in list(model.graphs()):
        for node in list(graph):
            function = model.functions.get(node.op_identifier())
            known = root_of(node) in by_root()
            if function is None or known or node.domain in STANDARD:
                continue
            _Inliner(work=work, call=node, function=function).run()
            changed = True
    return changed


class _Inliner:
    """Copies one body."""

    def __init__(self, *, work: Work, call: ir.Node, function: ir.Function) -> None:
        self.work, self.call, self.function = work, call, function
        self.attributes: dict[str, ir.Attr] = {
            name: attribute
            for name, attribute in function.attributes.items()
            if attribute.value is not None
        }
        self.attributes |= dict(call.attributes.items())
        given = [*call.inputs, *[None] * (len(function.inputs) - len(call.inputs))]
        self.values: dict[ir.Value, ir.Value | None] = dict(
            zip(function.inputs, given, strict=False)
        )

    def run(self) -> None:
        """Copy the nodes before the call and let what reads its outputs read theirs."""
        graph, editor = self.call.graph, self.work.editor
        assert isinstance(graph, ir.Graph)
        for node in self.function:
            graph.insert_before(self.call, self.copied(node))
        for old, inner in zip(self.call.outputs, self.function.outputs, strict=False):
            new = self.values.get(inner, inner)
            if new is None:
                continue
            if new in self.call.inputs or new.producer() is None:
                made = ir.node("Identity", [new])
                graph.insert_before(self.call, made)
                new = made.outputs[0]
            name = old.name
            old.name = editor.free(f"{name}.call") if name else name
            old.replace_all_uses_with(new, replace_graph_outputs=True)
            new.name, new.type = name, old.type or new.type
            new.shape = old.shape if old.shape is not None else new.shape
        editor.drop([self.call])

    def copied(self, node: ir.Node) -> ir.Node:
        """A node of the body as one of the graph."""
        made = ir.Node(
            node.domain,
            node.op_type,
            [None if value is None else self.values.get(value, value) for value in node.inputs],
            list(self.said(node.attributes.values())),
            num_outputs=len(node.outputs),
            overload=node.overload,
            metadata_props=dict(node.metadata_props),
        )
        base = name_of(self.call.outputs[0]) or self.function.name
        for old, new in zip(node.outputs, made.outputs, strict=True):
            new.name = self.work.editor.free(f"{base}.{name_of(old)}")
            new.type, new.shape = old.type, old.shape
            self.values[old] = new
        return made

    def said(self, attributes: Iterable[ir.Attr]) -> Iterable[ir.Attr]:
        """Attributes with the call's own in the places of references; bodies in bodies likewise."""
        for attribute in attributes:
            if attribute.is_ref():
                found = self.attributes.get(attribute.ref_attr_name or "")
                if found is not None:
                    yield ir.Attr(attribute.name, found.type, found.value)
            elif attribute.type == ir.AttributeType.GRAPH:
                yield ir.AttrGraph(attribute.name, self.body(attribute.as_graph()))
            else:
                yield attribute

    def body(self, graph: ir.Graph) -> ir.Graph:
        """A copy of a graph inside of the body."""
        inputs = [
            ir.Value(name=self.work.editor.free(name_of(v)), type=v.type, shape=v.shape)
            for v in graph.inputs
        ]
        self.values.update(zip(graph.inputs, inputs, strict=True))
        nodes = [self.copied(node) for node in graph]
        outputs = [self.values.get(value, value) for value in graph.outputs]
        made = ir.Graph(inputs, [v for v in outputs if v is not None], nodes=nodes, name=graph.name)
        for value in graph.initializers.values():
            made.register_initializer(value)
        return made
