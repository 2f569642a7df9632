"""The values of a graph that is being rewritten: what each root has become, and Transposes of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.inspecting import is_op, is_weight, name_of
from w2e_bridge.graph.weights import WeightStub
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.parts import AnyArray
from w2e_bridge.passes.layout.constants import narrowed, stripped, turned, widened
from w2e_bridge.passes.layout.permutations import Perm, inverse, still, then, to_first, to_last
from w2e_bridge.passes.layout.scopes import Scope, equal, permuted
from w2e_bridge.passes.layout.site import dims, is_constant


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What there is of a root: the Transpose of it by a permutation."""

    value: ir.Value
    perm: Perm


@dataclass(slots=True, kw_only=True)
class Values:
    """Values by root and permutation, made where they are missing.

    Attributes:
        scope: the graph.
        held: of roots that were rewritten.
        constants: permuted constants, by constant, rank and permutation.
        names: permuted constants, and the names that they get where those fall free.
    """

    scope: Scope
    held: dict[ir.Value, Held] = field(default_factory=dict)
    constants: dict[tuple[ir.Value, int, Perm], ir.Value] = field(default_factory=dict)
    names: dict[ir.Value, str] = field(default_factory=dict)

    def quantization(self, value: ir.Value) -> ActivationQuantization | None:
        """Of a value, or the one that only its Transpose had."""
        found = self.scope.activations.get(name_of(value))
        raised = self.scope.raised.get(value)
        return raised.quantization if found is None and raised is not None else found

    def get(self, root: ir.Value, perm: Perm) -> ir.Value:
        """The Transpose of a root."""
        if is_constant(root):
            return self._constant(root, perm)
        held = self.held.get(root)
        if held is None:
            if still(perm):
                return self._itself(root)
            return self._there(root, perm) or self._transpose(self._itself(root), perm, bare=False)
        wanted = then(inverse(held.perm), perm)
        if still(wanted):
            return held.value
        return self._transpose(held.value, wanted, bare=False)

    def bare(self, value: ir.Value, perm: Perm) -> ir.Value:
        """A Transpose for an operator that is bound to a layout: not quantized itself."""
        return self._transpose(value, perm, bare=True)

    def hold(self, root: ir.Value, twin: ir.Value, perm: Perm) -> None:
        """Let a value stand for a root from now on: it takes over its name and quantization."""
        shape, name = dims(root), name_of(root)
        raised = self.scope.raised.pop(root, None)
        found = self.scope.activations.get(name)
        if raised is not None:
            found = raised.quantization
            name = name_of(raised.value)
        self.held[root] = Held(value=twin, perm=perm)
        self.scope.editor.taken.discard(name_of(twin))
        twin.type = root.type
        if shape is not None and root.shape is not None:
            twin.shape = ir.Shape([root.shape[axis] for axis in perm])
        named = root if raised is None else raised.value
        if named.is_graph_output():
            twin.name = self.scope.editor.free(_name(name, perm))
        else:
            self.scope.activations.pop(name, None)
            named.name = self.scope.editor.free(f"{name}.inner")
            twin.name = name
        if found is not None:
            self.scope.activations[name_of(twin)] = permuted(found, perm)

    def hold_turned(self, root: ir.Value, perm: Perm) -> None:
        """Let the Transpose of a root stand for it; the root itself is read by nothing else from now on."""
        there = self.scope.turned.get((root, perm))
        made = None if there is None else there.producer()
        if there is None or made is None or made.inputs[0] is not root:
            self.hold(root, self._transpose(root, perm, bare=True), perm)
            return
        self.held[root] = Held(value=there, perm=perm)
        self.scope.raised.pop(root, None)
        own = self.scope.activations.pop(name_of(root), None)
        if own is not None:
            self.scope.activations.setdefault(name_of(there), permuted(own, perm))

    def lowered(self, value: ir.Value, rank: int, perm: Perm) -> ir.Value:
        """A value of a lower rank than its fellow operands, as broadcast to those permuted."""
        alias = self.scope.alias(value)
        shape = dims(value) or ()
        if all(extent == 1 for extent in shape):
            return self.get(alias.root, alias.perm)
        if is_constant(alias.root) and still(alias.perm):
            return self._broadcast(alias.root, rank, perm)
        full = self._unsqueezed(self.get(alias.root, alias.perm), rank)
        return self._transpose(full, perm, bare=False)

    def integers(self, name: str, array: AnyArray) -> ir.Value:
        """A constant of the computation."""
        graph, editor = self.scope.graph, self.scope.editor
        unique = editor.free(name)
        data = ir.tensor(np.ascontiguousarray(array).reshape(np.shape(array)), name=unique)
        value = ir.Value(
            name=unique,
            type=ir.TensorType(data.dtype),
            shape=ir.Shape(np.shape(array)),
            const_value=data,
        )
        graph.register_initializer(value)
        return value

    def _itself(self, root: ir.Value) -> ir.Value:
        raised = self.scope.raised.get(root)
        if raised is not None:
            self.scope.activations[name_of(root)] = raised.quantization
        return root

    def _there(self, root: ir.Value, perm: Perm) -> ir.Value | None:
        """A Transpose of it that the graph has already."""
        found = self.scope.turned.get((root, perm))
        made = None if found is None else found.producer()
        if found is None or made is None or made.inputs[0] is not root:
            return None
        own = self.quantization(root)
        if own is not None and name_of(found) not in self.scope.activations:
            if self.scope.last:
                return None  # it stands before an operator that is bound to a layout
            self.scope.activations[name_of(found)] = permuted(own, perm)
        return found

    def _is_turn(self, node: ir.Node, perm: Perm) -> bool:
        listed = node.attributes.get("perm")
        return (
            is_op(node, "Transpose")
            and node.graph is self.scope.graph
            and listed is not None
            and tuple(listed.as_ints()) == perm
        )

    def _transpose(self, value: ir.Value, perm: Perm, *, bare: bool) -> ir.Value:
        own = None if bare else self.quantization(value)
        for user, _ in value.uses():
            if self._is_turn(user, perm) and self._quantized_so(user.outputs[0], own, perm):
                return user.outputs[0]
        made = ir.node("Transpose", [value], {"perm": list(perm)})
        output = made.outputs[0]
        self._settle(value, made, _name(name_of(value), perm))
        if value.shape is not None:
            output.shape = ir.Shape([value.shape[axis] for axis in perm])
        if own is not None:
            self.scope.activations[name_of(output)] = permuted(own, perm)
        return output

    def _quantized_so(
        self, value: ir.Value, wanted: ActivationQuantization | None, perm: Perm
    ) -> bool:
        found = self.scope.activations.get(name_of(value))
        if found is None or wanted is None:
            return found is wanted
        return equal(found, permuted(wanted, perm))

    def _settle(self, value: ir.Value, made: ir.Node, name: str) -> None:
        """Name a node that reads a value, and put it right behind that value's maker."""
        output, graph = made.outputs[0], self.scope.graph
        output.name = self.scope.editor.free(name)
        output.type = value.type
        maker = value.producer()
        if maker is not None and maker.graph is graph:
            graph.insert_after(maker, made)
        elif len(graph):
            graph.insert_before(graph.node(0), made)
        else:
            graph.append(made)

    def _unsqueezed(self, value: ir.Value, rank: int) -> ir.Value:
        count = rank - len(dims(value) or ())
        if not count:
            return value
        axes = self.integers("axes", np.arange(count, dtype=np.int64))
        made = ir.node("Unsqueeze", [value, axes])
        self._settle(value, made, f"{name_of(value)}.wide")
        if value.shape is not None:
            made.outputs[0].shape = ir.Shape([1] * count + list(value.shape))
        own = self.quantization(value)
        if own is not None and own.axis is None:
            self.scope.activations[name_of(made.outputs[0])] = own
        return made.outputs[0]

    def _constant(self, root: ir.Value, perm: Perm) -> ir.Value:
        if still(perm):
            return root
        return self._made_constant(root, len(perm), perm, narrow=False)

    def _broadcast(self, root: ir.Value, rank: int, perm: Perm) -> ir.Value:
        return self._made_constant(root, rank, perm, narrow=True)

    def _made_constant(self, root: ir.Value, rank: int, perm: Perm, *, narrow: bool) -> ir.Value:
        key = (root, rank, perm)
        if key not in self.constants:
            made = self._weight(root, rank, perm, narrow=narrow) if is_weight(root) else None
            if made is None and not is_weight(root):
                made = self._numbers(root, rank, perm, narrow=narrow)
            if made is None:  # an encoding that has no axes to speak of
                return self._transpose(self._unsqueezed(root, rank), perm, bare=False)
            self.constants[key] = made
            self.names[made] = name_of(root)
        return self.constants[key]

    def _weight(self, root: ir.Value, rank: int, perm: Perm, *, narrow: bool) -> ir.Value | None:
        tensor = self.scope.editor.tensors.get(name_of(root))
        found = None if tensor is None else turned(widened(tensor, rank), perm)
        if found is None:
            return None
        return self.scope.editor.register(self.scope.graph, narrowed(found) if narrow else found)

    def _numbers(self, root: ir.Value, rank: int, perm: Perm, *, narrow: bool) -> ir.Value:
        assert root.const_value is not None
        array = root.const_value.numpy()
        array = array.reshape((1,) * (rank - array.ndim) + array.shape).transpose(perm)
        return self.integers(
            name_of(root), array.reshape(stripped(array.shape)) if narrow else array
        )

    def finish(self) -> None:
        """Give constants and values the names of those that nothing reads any more."""
        for root, raised in self.scope.raised.items():
            quantized = name_of(root) in self.scope.activations
            if quantized and raised.value.graph is None and not root.is_graph_output():
                found = self.scope.activations.pop(name_of(root))
                root.name = name_of(raised.value)
                self.scope.editor.taken.add(name_of(root))
                self.scope.activations[name_of(root)] = found
        for root, _, _ in self.constants:
            self._forget(root)
        taken, editor = self.scope.editor.taken, self.scope.editor
        for value, wanted in self.names.items():
            name = name_of(value)
            if wanted in taken or value.graph is None:
                continue
            taken.discard(name)
            taken.add(wanted)
            tensor = editor.tensors.pop(name, None)
            value.name = wanted
            if tensor is not None:
                editor.tensors[wanted] = replace(tensor, name=wanted)
                dtype = value.dtype
                assert dtype is not None
                value.const_value = WeightStub(wanted, dtype, tensor.shape)

    def _forget(self, root: ir.Value) -> None:
        """Take out a constant that nothing reads."""
        name, graph = name_of(root), root.graph
        if root.uses() or root.is_graph_output() or graph is None:
            return
        graph.initializers.pop(name, None)
        self.scope.editor.tensors.pop(name, None)
        self.scope.editor.taken.discard(name)


def _name(name: str, perm: Perm) -> str:
    """The name of a Transpose."""
    rank = len(perm)
    orders = {to_last(rank): ".last", to_first(rank): ".first"} if rank > 2 else {}
    base = next(
        (name.removesuffix(s) for s in (".last", ".first", ".turned") if name.endswith(s)), name
    )
    return base + orders.get(perm, ".turned")
