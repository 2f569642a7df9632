"""Codes between `QuantizeLinear` and `DequantizeLinear` to real values with a quantization.

A public value that is codes itself stays public as the real value that the codes stand for, and its
quantization says that the file's own type is that of the codes. A public value that is real and quantized only
inside stays unquantized, and an `Identity` stands between it and the quantized value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import Unrecognised, is_weight, name_of, needed
from w2e_bridge.graph.qdq_claims import Claims, claims_of
from w2e_bridge.graph.qdq_constants import number_of, quantized_constant, rounded_constant
from w2e_bridge.graph.qdq_movement import Movement
from w2e_bridge.graph.qdq_parameters import DEQUANTIZE, QUANTIZE, Key, insert_after, key_of, linear
from w2e_bridge.graph.weights import DTYPES
from w2e_bridge.ir.activation import ActivationQuantization

HIDDEN, CODES = ".unquantized", ".quantized"
"""Behind the name of a value: its form before rounding, and its codes."""

_SUFFIXES = (CODES, "_quantized", "_QuantizeLinear_Output")
"""What writers put behind a value's name for its codes: ours, onnxruntime.quantization."""


Readers = list[tuple[ir.Node, int]]


def fold_values(
    editor: Editor, known: Mapping[str, ActivationQuantization]
) -> dict[str, ActivationQuantization]:
    """Make real values of all codes whose quantization is known; the quantization of each by its name.

    Args:
        editor: the model.
        known: quantization of real values that is known already.

    before: `QuantizeLinear`, nodes that move codes, `DequantizeLinear`; public values of codes.
    after:  none of these pairs; the same nodes move real values that have a quantization. Codes that another
        node reads or makes are made from the real value, or it from them, by a node that stays.
    why exact: moving, choosing and comparing codes is the same as doing so with what they stand for; quantizing
        what codes stand for gives the codes.
    """
    entries = {v: known[name_of(v)] for v in values_of(editor.model) if name_of(v) in known}
    folder = _Folder(editor=editor, claims=claims_of(editor), entries=entries)
    folder.run()
    return {name_of(value): p for value, p in folder.entries.items()}


def values_of(model: ir.Model) -> list[ir.Value]:
    """All values of a model's graphs, constants among them."""
    found: list[ir.Value] = []
    for graph in model.graphs():
        found += [*graph.inputs, *graph.initializers.values()]
        found += [output for node in graph for output in node.outputs]
    return found


def base_of_codes(name: str) -> str:
    """The value's name from that of its codes, or the same name."""
    suffix = next((s for s in _SUFFIXES if name.endswith(s) and name != s), "")
    return name.removesuffix(suffix)


@dataclass(slots=True, kw_only=True)
class _Folder:
    """Rewrites one model.

    Attributes:
        editor, claims: the model.
        moving: nodes that move codes of one quantization.
        entries: quantization of real values.
        fixed: real values that are computed from constants alone; they have no quantization of their own.
        made: (real value, quantization) to what is quantized so.
        gone: nodes to take out.
        public: public values and the names that they must have.
        wanted: other values and the names that they get when those are free.
    """

    editor: Editor
    claims: Claims
    moving: dict[ir.Node, Movement] = field(default_factory=dict)
    entries: dict[ir.Value, ActivationQuantization] = field(default_factory=dict)
    fixed: set[ir.Value] = field(default_factory=set)
    made: dict[tuple[ir.Value, Key], ir.Value] = field(default_factory=dict)
    gone: list[ir.Node] = field(default_factory=list)
    public: list[tuple[ir.Value, str]] = field(default_factory=list)
    wanted: list[tuple[ir.Value, tuple[str, ...]]] = field(default_factory=list)

    def run(self) -> None:
        """Values in the order in which they are computed."""
        nodes = self.editor.nodes()
        rows = {node: self.claims.moves(node) for node in nodes}
        self.moving = {node: row for node, row in rows.items() if row is not None}
        for value in self.editor.model.graph.inputs:
            if value in self.claims.of and self.readers(value)[0]:
                self.retype(value, self.claims.of[value])
        for node in nodes:
            row = self.moving.get(node)
            if self.claims.quantizes(node):
                self.quantize(node)
            elif row is not None:
                self.move(node, row)
            else:
                self.unknown(node)
        for graph in self.editor.model.graphs():
            for value in graph.inputs if graph is not self.editor.model.graph else ():
                if value in self.claims.of:
                    self.keep(value)
        self.finish()

    def readers(self, codes: ir.Value) -> tuple[Readers, Readers]:
        """What reads codes: those that can read the real value instead, and the others."""
        can: Readers = []
        others: Readers = []
        for user, index in codes.uses():
            row = self.moving.get(user)
            known = self.claims.dequantizes(user) or (
                row is not None and index in row.inputs_of(user)
            )
            (can if known else others).append((user, index))
        return can, others

    def retype(self, value: ir.Value, p: ActivationQuantization) -> None:
        """Codes become the real value themselves."""
        can, others = self.readers(value)
        inner = value.graph is not self.editor.model.graph and value.is_graph_output()
        if others or inner:
            self.codes(value, p, others)
        assert p.scale is not None
        value.type = ir.TensorType(DTYPES[str(p.scale.dtype)])
        self.entries[value] = p
        self.give(value, can)

    def codes(self, value: ir.Value, p: ActivationQuantization, readers: Readers) -> None:
        """Make codes of a real value again, for those that need them."""
        graph = value.graph
        assert isinstance(graph, ir.Graph)
        node = linear(QUANTIZE, value, self.editor, p)
        codes = node.outputs[0]
        codes.type, codes.shape = ir.TensorType(DTYPES[str(p.codes)]), value.shape
        codes.name = self.editor.free(name_of(value) + CODES)
        insert_after(graph, value, [node])
        for user, index in readers:
            user.replace_input_with(index, codes)
        if graph is not self.editor.model.graph:
            for index, output in enumerate(graph.outputs):
                if output is value:
                    graph.outputs[index] = codes

    def quantize(self, node: ir.Node) -> None:
        """A `QuantizeLinear` with its codes."""
        codes, p = node.outputs[0], self.claims.of[node.outputs[0]]
        can, _ = self.readers(codes)
        public = codes.is_graph_output() and codes.graph is self.editor.model.graph
        if not can and not public:
            return  # only nodes that know what to do with codes read them
        if is_weight(needed(node, 0)) and not public and self.rounded(node, p, can):
            return
        value = self.quantized(node, p)
        if public:
            value = self.publish(codes, value, p)
        self.give(value, can)
        self.gone.append(node)  # which stays where others read its codes

    def rounded(self, node: ir.Node, p: ActivationQuantization, can: Readers) -> bool:
        """Make a constant with an encoding of one that is quantized when the model runs, if it can be."""
        value, output = needed(node, 0), node.outputs[0]
        graph = value.graph
        assert isinstance(graph, ir.Graph)
        try:
            tensor = rounded_constant(self.editor.constant(value), p)
        except Unrecognised:
            return False
        codes = ir.Value(name="")
        self.give(codes, can)
        self.editor.drop(user for user, _ in can if self.claims.dequantizes(user))
        if not output.uses():  # then the name of the numbers is free
            self.editor.drop([node])
        stub = self.editor.register(graph, tensor)
        codes.replace_all_uses_with(stub)
        self.fixed.add(stub)
        return True

    def quantized(self, node: ir.Node, p: ActivationQuantization) -> ir.Value:
        """The real value that a `QuantizeLinear` rounds, where its rounding can be a property of it."""
        source, key = needed(node, 0), key_of(p)
        if (source, key) in self.made:
            return self.made[source, key]
        own = self.entries.get(source)
        if own is not None and key_of(own) == key:
            return source
        if own is None and self.alone(source, p):
            value = source
            name = name_of(source)
            if name.endswith(HIDDEN):
                name = name.removesuffix(HIDDEN)
                self.wanted.append((value, (base_of_codes(name), name)))
        else:
            codes = name_of(node.outputs[0])
            value = self.copy(source, node)
            self.wanted.append((value, (base_of_codes(codes), codes)))
        self.made[source, key] = value
        self.entries[value] = p
        if value.shape is None:
            value.shape = node.outputs[0].shape
        return value

    def alone(self, value: ir.Value, p: ActivationQuantization) -> bool:
        """Whether a value is nothing but what is rounded so."""
        if value.producer() is None or value.is_graph_output():
            return False
        return all(
            self.claims.quantizes(user) and self.claims.same(user.outputs[0], p)
            for user, _ in value.uses()
        )

    def copy(self, value: ir.Value, before: ir.Node) -> ir.Value:
        """A value of its own for those that see a quantization which others don't."""
        made = ir.Node("", "Identity", [value])
        copy = made.outputs[0]
        copy.type, copy.shape = value.type, value.shape
        copy.name = self.editor.free(f"{name_of(value)}.copy")
        assert isinstance(before.graph, ir.Graph)
        before.graph.insert_before(before, made)
        return copy

    def publish(self, codes: ir.Value, value: ir.Value, p: ActivationQuantization) -> ir.Value:
        """Give out a real value in the place of codes, under their name."""
        maker = codes.producer()
        assert maker is not None
        if value.is_graph_output() or value.is_graph_input():
            value = self.copy(value, maker)
            self.entries[value] = p
        graph = codes.graph
        assert graph is not None
        assert p.scale is not None
        value.type = ir.TensorType(DTYPES[str(p.scale.dtype)])
        value.shape = codes.shape if codes.shape is not None else value.shape
        for index, output in enumerate(graph.outputs):
            if output is codes:
                graph.outputs[index] = value
        self.public.append((value, name_of(codes)))
        return value

    def move(self, node: ir.Node, row: Movement) -> None:
        """A node that moves codes moves real values."""
        for index in row.inputs_of(node):
            self.constant(node, index)
        read = [needed(node, index) for index in row.inputs_of(node)]
        first = next(iter(row.outputs_of(node)), read[0])
        p = self.claims.of.get(first) or self.entries.get(first)
        if p is not None:
            self.bounds(node, row, p)
        fixed = all(is_weight(value) or value in self.fixed for value in read)
        for output in row.outputs_of(node):
            own = self.claims.of[output]
            if not output.is_graph_output():
                self.wanted.append((output, (base_of_codes(name_of(output)),)))
            self.retype(output, own)
            if fixed:
                self.fixed.add(output)
                del self.entries[output]

    def constant(self, node: ir.Node, index: int) -> None:
        """An input that is constant codes becomes a constant with an encoding."""
        value = needed(node, index)
        if not is_weight(value) or value not in self.claims.of:
            return
        p = self.claims.of[value]
        graph, tensor = value.graph, self.editor.constant(value)
        assert isinstance(graph, ir.Graph)
        readers, _ = self.readers(value)
        placeholder = ir.Value(name="")
        for user, place in readers:
            user.replace_input_with(place, placeholder)
        self.editor.drop_constant(value)  # so that its name is free
        stub = self.editor.register(graph, quantized_constant(tensor, p))
        placeholder.replace_all_uses_with(stub)

    def bounds(self, node: ir.Node, row: Movement, p: ActivationQuantization) -> None:
        """Single codes that a node reads become numbers; Relu, which cuts at code 0, cuts at its number."""
        if node.op_type == "Relu" and p.zero_point is not None:
            node.op_type, row = "Clip", Movement(numbers={1: 0, 2: None})
        for index, default in row.numbers.items():
            number_of(node, index, default, p, self.editor)

    def unknown(self, node: ir.Node) -> None:
        """Codes that are made in a way that is not known."""
        for value in node.outputs:
            if value in self.claims.of:
                self.keep(value)

    def keep(self, codes: ir.Value) -> None:
        """Codes stay; the nodes that move them on move what they stand for."""
        can, _ = self.readers(codes)
        moving = [(user, index) for user, index in can if user in self.moving]
        if not moving:
            return
        p, graph = self.claims.of[codes], codes.graph
        assert p.scale is not None
        assert isinstance(graph, ir.Graph)
        node = linear(DEQUANTIZE, codes, self.editor, p)
        value = node.outputs[0]
        value.type, value.shape = ir.TensorType(DTYPES[str(p.scale.dtype)]), codes.shape
        value.name = self.editor.free(f"{name_of(codes)}.dequantized")
        insert_after(graph, codes, [node])
        self.entries[value] = p
        self.give(value, can)

    def give(self, value: ir.Value, can: Readers) -> None:
        """Give a real value to what read its codes."""
        for user, index in can:
            if self.claims.dequantizes(user):
                self.real(user, value)
            else:
                user.replace_input_with(index, value)

    def real(self, node: ir.Node, value: ir.Value) -> None:
        """Put the real value in the place of what a `DequantizeLinear` gives."""
        output = node.outputs[0]
        for user, index in list(output.uses()):
            user.replace_input_with(index, value)
        if output.is_graph_output():
            copy = self.copy(value, node)
            copy.type = output.type or copy.type
            copy.shape = output.shape if output.shape is not None else copy.shape
            output.replace_all_uses_with(copy, replace_graph_outputs=True)
            self.public.append((copy, name_of(output)))
        self.gone.append(node)

    def finish(self) -> None:
        """Take out what is not needed, and give names."""
        self.editor.drop(reversed(self.gone))
        for value, name in self.public:
            self.rename(value, name)
        fixed = {value for value, _ in self.public}
        for value, names in self.wanted:
            free = next((n for n in names if n not in self.editor.taken), None)
            if free is not None and value not in fixed:
                self.rename(value, free)
        seen: set[str] = set()
        for value in self.entries:
            if name_of(value) in seen:  # subgraphs beside each other may repeat a name
                value.name = self.editor.free(name_of(value))
            seen.add(name_of(value))

    def rename(self, value: ir.Value, name: str) -> None:
        """Give a value another name."""
        self.editor.taken.discard(name_of(value))
        self.editor.taken.add(name)
        value.name = name
