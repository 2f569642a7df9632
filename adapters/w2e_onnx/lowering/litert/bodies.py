"""Control flow between integer kernels: codes cross into and out of bodies as they travel elsewhere.

before: If and Loop whose bodies compute on real numbers, some of them quantized.
after:  the same, with calls inside; a quantized value that is carried through a Loop, or comes out of a
    branch, is carried as its codes (8 bits as uint8).
why exact: both sides of each border are quantized alike (`w2e_bridge.kernels.control`), so the codes mean
    the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.graph.inspecting import is_op, name_of
from w2e_bridge.graph.rewriting import drop_unused
from w2e_bridge.graph.weights import DTYPES
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.model import Model
from w2e_bridge.kernels.bodies import bodies_of
from w2e_bridge.kernels.control import alike
from w2e_bridge.kernels.operation import Operation
from w2e_bridge.kernels.scope import Scope
from w2e_onnx.lowering.litert.emit import OPSETS, Control, Emitter
from w2e_onnx.lowering.litert.slots import output_of

CONTROL = ("If", "Loop")
"""Operators that stay what they are; only their bodies are rewritten."""


@dataclass(slots=True, kw_only=True)
class BodyEmitter(Emitter):
    """Rewrites a body; constants go to the graph of the model.

    Attributes:
        outer: what rewrites the graph around it.
    """

    outer: Emitter

    def enter(self) -> None:
        """What a Loop carries comes in as codes."""
        for value in self.graph.inputs:
            if self.scope.static(value) is not None:
                value.type = ir.TensorType(DTYPES[output_of(value, self.scope, "0").carried])

    def leave(self) -> None:
        """What goes out is what travels."""
        for index, value in enumerate(self.graph.outputs):
            made = self.carried.get(value, value)
            if made is not value:
                self.graph.outputs[index] = made
        drop_unused(self.graph)

    def sort(self) -> None:
        """Nothing: a body is sorted with the graph around it, whose values it reads."""

    def array(self, name: str, array: NDArray[np.generic], dtype: str | None = None) -> ir.Value:
        """A constant of the model's graph."""
        return self.outer.array(name, array, dtype)

    def free(self, name: str) -> str:
        """A name that nothing in the model has."""
        return self.outer.free(name)


def emit(
    work: ir.Model,
    model: Model,
    *,
    reference: bool,
    signed: bool = False,
    opsets: Mapping[str, int] = OPSETS,
) -> Emitter:
    """Rewrite a copy of a model's graph, with all graphs inside of it; see `emit`."""
    scope = Scope(tensors=model.tensors, values=model.activations)
    emitter = Emitter(
        graph=work.graph,
        scope=scope,
        control=Control(kinds=CONTROL, rewrite=rewrite),
        reference=reference,
        signed=signed,
        opsets=dict(opsets),
    )
    emitter.run()
    return emitter


def rewrite(emitter: Emitter, step: Operation | ir.Node) -> bool:
    """Rewrite a step if it is control flow, or hands on codes inside of it.

    Returns:
        Whether it was.
    """
    if isinstance(step, Operation):
        # Between values that are quantized alike, a body hands codes on.
        handed = step.kind == "quantize" and isinstance(emitter, BodyEmitter)
        return handed and _hand_on(emitter, step.nodes[0])
    if bodies_of(step):
        _rewrite_control(emitter, step)
        return True
    if is_op(step, "Identity") and emitter.scope.static(step.outputs[0]) is not None:
        return _hand_on(emitter, step)
    return False


def _hand_on(emitter: Emitter, node: ir.Node) -> bool:
    """An Identity of a quantized value is one of its codes."""
    value, output = node.inputs[0], node.outputs[0]
    if value is None or not alike(emitter.scope, value, output):
        return False
    if emitter.scope.tensor(value) is not None:
        return False
    made = emitter.made(output, output_of(output, emitter.scope, "0"))
    emitter.graph.append(ir.node("Identity", [emitter.carried.get(value, value)], outputs=[made]))
    emitter.carried[output] = made
    return True


def _rewrite_control(emitter: Emitter, node: ir.Node) -> None:
    for graph in bodies_of(node):
        BodyEmitter(
            graph=graph,
            scope=emitter.scope,
            control=emitter.control,
            reference=emitter.reference,
            signed=emitter.signed,
            opsets=emitter.opsets,
            functions=emitter.functions,
            carried=emitter.carried,
            fallbacks=emitter.fallbacks,
            outer=emitter,
        ).run()
    for index, value in enumerate(node.inputs):
        made = None if value is None else emitter.carried.get(value)
        if made is not None and made is not value:
            node.replace_input_with(index, made)
    if any(emitter.scope.static(value) is not None for value in node.outputs):
        _replace(emitter, node)


def _replace(emitter: Emitter, node: ir.Node) -> None:
    """The node with outputs that are codes: they have names and types of their own."""
    slots = [output_of(value, emitter.scope, "0") for value in node.outputs]
    outputs = [emitter.made(v, s) for v, s in zip(node.outputs, slots, strict=True)]
    attributes = list(node.attributes.values())
    node.attributes.clear()  # a graph belongs to one node; the old one is dropped
    made = ir.Node(
        node.domain, node.op_type, list(node.inputs), attributes, outputs=outputs, name=node.name
    )
    emitter.graph.append(made)
    for value, new, slot in zip(node.outputs, outputs, slots, strict=True):
        emitter.carried[value] = new
        if slot.quantized is None:
            value.replace_all_uses_with(new, replace_graph_outputs=True)
            name = name_of(value)
            value.name = f"{name}.real"
            new.name = name


def borders(node: ir.Node) -> Iterator[list[ir.Value]]:
    """Values that are the same one on both sides of a border of control flow, or of an Identity."""
    if is_op(node, "Identity") and node.inputs[0] is not None:
        yield [node.inputs[0], node.outputs[0]]
    graphs = bodies_of(node)
    if is_op(node, "If"):
        for index, output in enumerate(node.outputs):
            yield [output, *(graph.outputs[index] for graph in graphs)]
    if is_op(node, "Loop") and len(graphs) == 1:
        (body,) = graphs
        for index, begin in enumerate(node.inputs[2:]):
            sides = [begin, body.inputs[index + 2], body.outputs[index + 1], node.outputs[index]]
            yield [value for value in sides if value is not None]


def reconcile(
    nodes: Sequence[ir.Node], values: MutableMapping[str, ActivationQuantization]
) -> None:
    """Say on all sides of each border what calls said on one; the inverse of `rewrite`.

    Args:
        nodes: of all graphs of a model.
        values: quantization by name; added to.
    """
    groups = [group for node in nodes for group in borders(node)]
    changed = True
    while changed:
        changed = False
        for group in groups:
            known = _known(group, values)
            for value in group:
                # What is float by now is real, or was said to be quantized by a call.
                codes = value.dtype in (ir.DataType.UINT8, ir.DataType.INT8, ir.DataType.INT16)
                if known is None or not codes or name_of(value) in values or value.is_initializer():
                    continue
                values[name_of(value)] = known
                value.type = ir.TensorType(ir.DataType.FLOAT)
                changed = True


def _known(
    group: Sequence[ir.Value], values: Mapping[str, ActivationQuantization]
) -> ActivationQuantization | None:
    found = [values[name_of(value)] for value in group if name_of(value) in values]
    static = [quantization for quantization in found if quantization.scale is not None]
    return static[0] if static else None
