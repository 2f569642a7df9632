"""A graph after its plan: nodes that follow are made anew, others read what they did before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.inspecting import name_of
from w2e_bridge.passes.layout.permutations import (
    identity,
    inverse,
    still,
    then,
    to_first,
    to_last,
)
from w2e_bridge.passes.layout.plan import Follow, Plan
from w2e_bridge.passes.layout.scopes import Scope, captured
from w2e_bridge.passes.layout.site import dims
from w2e_bridge.passes.layout.values import Values
from w2e_bridge.passes.layout.weights import stored_order


@dataclass(slots=True, kw_only=True)
class Rewriter:
    """Writes one graph anew.

    Attributes:
        scope: the graph.
        plan: of it.
        values: what its roots have become.
    """

    scope: Scope
    plan: Plan
    values: Values

    def run(self) -> None:
        """All nodes in order, then the outputs; what nothing reads goes. The nodes are not sorted then."""
        following = self.plan.following()
        for node in list(self.scope.graph):
            if self.scope.alias(node.outputs[0]).root is not node.outputs[0]:
                continue
            slots = self.plan.bound.get(node, ()) if self.scope.last else ()
            if node in following and not _trivial(self.plan.follows[node]):
                self._follow(node, self.plan.follows[node])
                continue
            self._read(node, slots)
            if slots:
                self._wrap(node, slots)
        self._outputs()
        self.scope.editor.drop(node for node in list(self.scope.graph) if _dead(node))
        self.values.finish()

    def _value(self, value: ir.Value) -> ir.Value:
        alias = self.scope.alias(value)
        return self.values.get(alias.root, alias.perm)

    def _read(self, node: ir.Node, but: Iterable[int] = ()) -> None:
        """Let a node that stays as it is read what its inputs have become."""
        for slot, value in enumerate(node.inputs):
            if value is not None and slot not in but:
                node.replace_input_with(slot, self._value(value))
        for value in set(captured(node)):
            _replace_inside(node, value, self._value(value))

    def _wrap(self, node: ir.Node, slots: Iterable[int]) -> None:
        """Put an operator of channels first between Transposes, its values outside channels last."""
        for slot in slots:
            value = node.inputs[slot]
            assert value is not None
            alias = self.scope.alias(value)
            rank = len(alias.perm)
            outside = self.values.get(alias.root, then(alias.perm, to_last(rank)))
            node.replace_input_with(slot, self.values.bare(outside, to_first(rank)))
        self._store_weights(node)
        output = node.outputs[0]
        perm = to_last(len(dims(node.inputs[0]) or ()))
        self.values.hold_turned(output, perm)

    def _store_weights(self, node: ir.Node) -> None:
        """Keep the weights in the order in which channels-last operators read them."""
        found = stored_order(self.scope.site(node))
        if found is None:
            return
        slot, perm = found
        weights = node.inputs[slot]
        assert weights is not None
        stored = self.values.get(weights, perm)
        node.replace_input_with(slot, self.values.bare(stored, inverse(perm)))

    def _follow(self, node: ir.Node, found: Follow) -> None:
        """Make a node anew on permuted values."""
        inputs = [self._operand(node, slot, found) for slot in range(len(node.inputs))]
        for slot, array in found.change.inputs.items():
            inputs += [None] * (slot + 1 - len(inputs))
            name = f"{name_of(node.outputs[0])}.{_OPERANDS.get((node.op_type, slot), 'constant')}"
            inputs[slot] = self.values.integers(name, array)
        made = ir.Node(
            node.domain,
            node.op_type,
            inputs,
            _attributes(node, found),
            num_outputs=len(node.outputs),
            overload=node.overload,
            name=node.name,
            doc_string=node.doc_string,
            metadata_props=dict(node.metadata_props),
        )
        self.scope.graph.insert_before(node, made)
        if found.output is None:
            self._bare(node, made, found)
            return
        for old, new in zip(node.outputs, made.outputs, strict=True):
            if old.name:
                self.values.hold(old, new, found.output)

    def _operand(self, node: ir.Node, slot: int, found: Follow) -> ir.Value | None:
        value = node.inputs[slot]
        if value is None:
            return None
        alias = self.scope.alias(value)
        own = found.inputs.get(slot)
        if own is not None:
            return self.values.get(alias.root, then(alias.perm, own))
        if found.broadcast and found.output is not None:
            return self.values.lowered(value, len(found.output), found.output)
        return self.values.get(alias.root, alias.perm)

    def _bare(self, node: ir.Node, made: ir.Node, found: Follow) -> None:
        """An output without axes of its own."""
        old, new = node.outputs[0], made.outputs[0]
        if found.change.gather is not None:
            new.name = self.scope.editor.free(f"{name_of(old)}.turned")
            new.type = old.type
            order = self.values.integers(
                f"{name_of(old)}.order", np.asarray(found.change.gather, np.int64)
            )
            gather = ir.node("Gather", [new, order], {"axis": 0})
            self.scope.graph.insert_before(node, gather)
            new = gather.outputs[0]
        self.values.hold(old, new, identity(len(dims(old) or ())))

    def _outputs(self) -> None:
        """Public outputs keep their names, shapes and order."""
        outputs = self.scope.graph.outputs
        for index, old in enumerate(list(outputs)):
            new = self._value(old)
            if new is old:
                continue
            fixed = new.is_graph_input() or new.is_graph_output() or new.producer() is None
            if fixed or new.graph is not self.scope.graph:
                made = ir.node("Identity", [new])
                self.scope.graph.append(made)
                new = made.outputs[0]
            self._publish(old, new)
            outputs[index] = new

    def _publish(self, old: ir.Value, new: ir.Value) -> None:
        activations, name = self.scope.activations, name_of(old)
        found = activations.pop(name_of(new), None)
        old.name = self.scope.editor.free(f"{name}.inner")
        new.name, new.type, new.shape = name, old.type, old.shape
        if found is not None:
            activations[name] = found


_OPERANDS = {
    ("Reshape", 1): "shape",
    ("Slice", 3): "axes",
    ("Pad", 1): "pads",
    ("Pad", 3): "axes",
    ("Tile", 1): "repeats",
    ("Expand", 1): "shape",
}
"""What to call the constants of some operators."""


def _trivial(found: Follow) -> bool:
    moved = [*found.inputs.values(), *([] if found.output is None else [found.output])]
    return all(still(perm) for perm in moved)


def _attributes(node: ir.Node, found: Follow) -> list[ir.Attr]:
    changed = found.change.attributes
    kept = [attribute for name, attribute in node.attributes.items() if name not in changed]
    for name, value in changed.items():
        if isinstance(value, int):
            kept.append(ir.AttrInt64(name, value))
        elif value is not None:
            kept.append(ir.AttrInt64s(name, value))
    return kept


def _dead(node: ir.Node) -> bool:
    return not any(output.uses() or output.is_graph_output() for output in node.outputs)


def _replace_inside(node: ir.Node, old: ir.Value, new: ir.Value) -> None:
    """Let the bodies of a node read another value."""
    if old is new:
        return
    bodies = set(_bodies(node))
    for user, slot in list(old.uses()):
        if user.graph in bodies:
            user.replace_input_with(slot, new)


def _bodies(node: ir.Node) -> Iterable[ir.Graph]:
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH and not attribute.is_ref():
            graph = attribute.as_graph()
            yield graph
            for inner in graph:
                yield from _bodies(inner)
