"""Values that get another quantization for one reader, or from their maker: an Identity between the two."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from dataclasses import dataclass, field

import onnx_ir as ir

from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import name_of
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.kernels.operation import Operand
from w2e_bridge.passes.layout.scopes import equal

Quantization = ActivationQuantization | None


@dataclass(slots=True, kw_only=True)
class Wiring:
    """One graph, and the quantization of its values.

    Attributes:
        graph: the graph.
        editor: edits it.
        activations: quantization of values by name; edited along.
        copies: what was made of a value: quantization and the value that has it.
        moved: values that are made another way now, and what is read in their place.
    """

    graph: ir.Graph
    editor: Editor
    activations: MutableMapping[str, ActivationQuantization]
    copies: dict[ir.Value, list[tuple[Quantization, ir.Value]]] = field(default_factory=dict)
    moved: dict[ir.Value, ir.Value] = field(default_factory=dict)

    def quantization(self, value: ir.Value) -> Quantization:
        """How a value is quantized."""
        return self.activations.get(name_of(value))

    def give(self, value: ir.Value, wanted: Quantization) -> None:
        """Say how a value is quantized."""
        if wanted is None:
            self.activations.pop(name_of(value), None)
        else:
            self.activations[name_of(value)] = wanted

    def now(self, operands: tuple[Operand, ...]) -> tuple[Operand, ...]:
        """What an operation reads by now."""
        return tuple(self.moved.get(v, v) if isinstance(v, ir.Value) else v for v in operands)

    def fixed(self, value: ir.Value) -> bool:
        """Whether something outside of the graph knows a value."""
        return value.is_graph_input() or value.is_graph_output() or value.graph is not self.graph

    def read(self, nodes: Iterable[ir.Node], value: ir.Value, wanted: Quantization) -> None:
        """Let nodes read a value with another quantization."""
        copy = self.copy(value, wanted)
        for node in nodes:
            for slot, old in enumerate(node.inputs):
                if old is value:
                    node.replace_input_with(slot, copy)

    def copy(self, value: ir.Value, wanted: Quantization) -> ir.Value:
        """The same numbers with another quantization, made right behind them."""
        made = self.copies.setdefault(value, [])
        for known, copy in made:
            if _same(known, wanted):
                return copy
        node = ir.node("Identity", [value])
        copy = node.outputs[0]
        copy.name = self.editor.free(
            f"{name_of(value)}.{'dequantized' if wanted is None else 'requantized'}"
        )
        copy.type, copy.shape = value.type, value.shape
        self._behind(value, node)
        self.give(copy, wanted)
        made.append((wanted, copy))
        return copy

    def make(self, value: ir.Value, wanted: Quantization) -> None:
        """Let the maker of a value make it with another quantization; all who read it see what they saw."""
        own, name = self.quantization(value), name_of(value)
        node = ir.node("Identity", [value])
        after = node.outputs[0]
        after.type, after.shape = value.type, value.shape
        value.replace_all_uses_with(after, replace_graph_outputs=True)
        node.replace_input_with(0, value)
        self._behind(value, node)
        value.name = self.editor.free(f"{name}.made")
        after.name = name
        self.give(after, own)
        self.give(value, wanted)
        self.copies[value] = [(own, after)]
        self.moved[value] = after

    def _behind(self, value: ir.Value, node: ir.Node) -> None:
        maker = value.producer()
        if maker is not None and maker.graph is self.graph:
            self.graph.insert_after(maker, node)
        elif len(self.graph):
            self.graph.insert_before(self.graph.node(0), node)
        else:
            self.graph.append(node)


def _same(a: Quantization, b: Quantization) -> bool:
    if a is None or b is None:
        return a is b
    return equal(a, b)
