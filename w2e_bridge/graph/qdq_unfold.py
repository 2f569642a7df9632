"""Real values with a quantization to `QuantizeLinear` and `DequantizeLinear`: the inverse of `qdq_values`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import is_op, name_of
from w2e_bridge.graph.qdq_parameters import (
    DEQUANTIZE,
    QUANTIZE,
    insert_after,
    key_of,
    scale_and_zero,
)
from w2e_bridge.graph.qdq_values import CODES, HIDDEN, values_of
from w2e_bridge.graph.weights import DTYPES
from w2e_bridge.ir.activation import ActivationMode, ActivationQuantization, Granularity


def unfold_values(editor: Editor, values: Mapping[str, ActivationQuantization]) -> None:
    """Write the nodes that say the quantization of each value.

    before: y, with a quantization.
    after:  y = DequantizeLinear(QuantizeLinear(y.unquantized)); a public input or output is codes. An
        `Identity` that only quantizes, or only gives out what is dequantized, is one of the two nodes itself.

    Raises:
        UnsupportedError: a quantization that these nodes can't say.
    """
    known = {name_of(v): v for v in values_of(editor.model)}
    found = {name: known[name] for name in values if name in known}
    entries = {value: values[name] for name, value in found.items()}
    copies = {value for value in entries if _copies(value, entries)}
    for name, value in found.items():
        _check(name, values[name])
        assert isinstance(value.graph, ir.Graph)
        _Unfolding(
            editor=editor,
            graph=value.graph,
            value=value,
            p=values[name],
            quantized=set(entries),
            copied=value in copies,
        ).run()


def _copies(value: ir.Value, entries: Mapping[ir.Value, ActivationQuantization]) -> bool:
    """Whether the Identity that makes a value stays, so that the two values are found apart again.

    It is understood where a public real value is rounded, or codes become codes of another kind.
    """
    maker = value.producer()
    before = maker.inputs[0] if maker is not None and is_op(maker, "Identity") else None
    if before is None or before.is_graph_input():
        return False
    own = entries.get(before)
    return own is None or key_of(own) == key_of(entries[value])


def _check(name: str, p: ActivationQuantization) -> None:
    static = p.mode is ActivationMode.STATIC and p.scale is not None and p.second_level is None
    grain = p.granularity in (Granularity.TENSOR, Granularity.CHANNEL)
    if not static or not grain or str(p.codes) not in DTYPES:
        raise UnsupportedError(f"'{name}': QuantizeLinear can't say this quantization")


@dataclass(slots=True, kw_only=True)
class _Unfolding:
    """One value.

    Attributes:
        editor: the model.
        graph: of the value.
        value: the real value.
        p: its quantization.
        quantized: all real values that have one.
        copied: whether the Identity that makes the value is more than the rounding.
    """

    editor: Editor
    graph: ir.Graph
    value: ir.Value
    p: ActivationQuantization
    quantized: set[ir.Value]
    copied: bool

    def run(self) -> None:
        """Write the nodes, and give the value's name to what it was."""
        value, name = self.value, name_of(self.value)
        assert self.p.scale is not None
        real = ir.TensorType(DTYPES[str(self.p.scale.dtype)])
        public, readers = value.is_graph_output(), list(value.uses())
        if not public and not readers:
            return
        stubs = scale_and_zero(self.editor, self.graph, name, self.p)
        nodes: list[ir.Node] = []
        codes = value
        if not value.is_graph_input():
            nodes.append(ir.node(QUANTIZE, [self.source, *stubs], self.attributes))
            codes = nodes[0].outputs[0]
        given_out = [user for user, _ in readers if self.gives_out(user)]
        shared = [(user, index) for user, index in readers if user not in given_out]
        dequantize = [
            ir.node(DEQUANTIZE, [codes, *stubs], self.attributes)
            for _ in range(len(given_out) + bool(shared))
        ]
        # ONNX has no word for the type of an inner value without its shape.
        kind = ir.TensorType(DTYPES[str(self.p.codes)])
        known = value.shape is not None
        for node in dequantize:
            node.outputs[0].type, node.outputs[0].shape = real if known else None, value.shape
        public_codes = public or value.is_graph_input()
        codes.type, codes.shape = kind if known or public_codes else None, value.shape
        self.insert([*nodes, *dequantize])
        for user, node in zip(given_out, dequantize, strict=False):
            self.take_over(user, node, real)
        for user, index in shared:
            user.replace_input_with(index, dequantize[-1].outputs[0])
        self.rename(codes, dequantize[-1].outputs[0] if shared else None, public=public)

    @property
    def attributes(self) -> dict[str, int]:
        """Of both nodes."""
        return {} if self.p.axis is None else {"axis": self.p.axis}

    @property
    def source(self) -> ir.Value:
        """What is rounded: the value itself, or what it is nothing but the rounded form of."""
        maker = self.value.producer()
        before = maker.inputs[0] if maker is not None and is_op(maker, "Identity") else None
        return self.value if before is None or self.copied else before

    def gives_out(self, user: ir.Node) -> bool:
        """Whether a reader only makes a public value of what is dequantized."""
        output = user.outputs[0]
        return is_op(user, "Identity") and output.is_graph_output() and output not in self.quantized

    def insert(self, nodes: list[ir.Node]) -> None:
        """Put nodes where the value was made."""
        maker = self.value.producer()
        if maker is None or self.source is self.value:
            insert_after(self.graph, self.value, nodes)
        else:
            self.graph.insert_before(maker, nodes)

    def take_over(self, identity: ir.Node, node: ir.Node, real: ir.TensorType) -> None:
        """Make the public value by another node."""
        old, new = identity.outputs[0], node.outputs[0]
        name = name_of(old)
        new.type, new.shape = old.type or real, old.shape if old.shape is not None else new.shape
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        self.editor.drop([identity])
        new.name = name
        self.editor.taken.add(name)

    def rename(self, codes: ir.Value, output: ir.Value | None, *, public: bool) -> None:
        """The codes of a public value have its name, what is dequantized that of any other."""
        value, name, maker = self.value, name_of(self.value), self.value.producer()
        if public:
            for index, given in enumerate(self.graph.outputs):
                if given is value:
                    self.graph.outputs[index] = codes
        if maker is not None and self.source is value:
            value.name = self.editor.free(name + HIDDEN)
        elif maker is not None:
            self.editor.drop([maker])
        inside = maker is not None and not public
        if maker is not None:
            codes.name = self.editor.free(name + CODES) if inside else name
        if output is not None:
            output.name = name if inside else self.editor.free(f"{name}.dequantized")
        if maker is not None:
            self.editor.taken.add(name)
