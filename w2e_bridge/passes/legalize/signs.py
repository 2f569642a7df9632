"""Codes of 8 bits with a sign or without: one way for a whole model, since kernels don't mix them."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import is_weight, name_of
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.kernels.cover import cover
from w2e_bridge.kernels.operation import Operation
from w2e_bridge.kernels.scope import Scope
from w2e_bridge.passes.legalize.constraints import CHANGES, CONSTRAINTS, FIXED_VALUES
from w2e_bridge.passes.legalize.encodings import MIDDLE, SIGNED, UNSIGNED, is_byte, scales_of
from w2e_bridge.passes.legalize.wiring import Wiring

Activations = MutableMapping[str, ActivationQuantization]


def unify(editor: Editor, activations: Activations) -> None:
    """Give all values of 8 bits the same sign where operations would mix both.

    before: an operation whose operands, weights and outputs are not all signed or all unsigned.
    after: all values are signed, or unsigned where weights have zero points that signed kernels don't
        take. Public values stay, an Identity behind or before them changes the codes.
    why exact: q - z and (q - 128) - (z - 128) are the same integer.
    """
    found = [
        op for graph in editor.model.graphs() for op in _operations(graph, editor, activations)
    ]
    if not any(_mixed(op, editor, activations) for op in found):
        return
    signed = not _needs_unsigned(found, editor)
    public = [*editor.model.graph.inputs, *editor.model.graph.outputs]
    names = {name_of(value) for value in public}
    for name, own in list(activations.items()):
        if name not in names and is_byte(own.codes, signed=not signed):
            activations[name] = turned(own, signed=signed)
    wiring = Wiring(graph=editor.model.graph, editor=editor, activations=activations)
    _turn_inputs(wiring, signed=signed)
    _turn_outputs(wiring, signed=signed)


def turned(own: ActivationQuantization, *, signed: bool) -> ActivationQuantization:
    """The same quantization with codes of the other sign."""
    change = -MIDDLE if signed else MIDDLE
    zero = np.zeros_like(own.scale, np.int64) if own.zero_point is None else own.zero_point
    after = zero.astype(np.int64) + change
    return replace(
        own, codes=SIGNED if signed else UNSIGNED, zero_point=after if after.any() else None
    )


def _turn_inputs(wiring: Wiring, *, signed: bool) -> None:
    for value in wiring.graph.inputs:
        own = wiring.quantization(value)
        if own is None or not is_byte(own.codes, signed=not signed):
            continue
        readers = [(user, slot) for user, slot in value.uses() if user.op_type != "Identity"]
        if not readers:
            continue
        copy = wiring.copy(value, turned(own, signed=signed))
        for user, slot in readers:
            user.replace_input_with(slot, copy)


def _turn_outputs(wiring: Wiring, *, signed: bool) -> None:
    for value in list(wiring.graph.outputs):
        own = wiring.quantization(value)
        other = own is not None and is_byte(own.codes, signed=not signed)
        maker = value.producer()
        if own is None or not other or maker is None or maker.op_type == "Identity":
            continue
        wiring.make(value, turned(own, signed=signed))


def _operations(graph: ir.Graph, editor: Editor, activations: Activations) -> Iterator[Operation]:
    scope = Scope(tensors=editor.tensors, values=activations)
    for step in cover(graph, scope):
        if isinstance(step, Operation) and step.kind not in CHANGES | FIXED_VALUES:
            yield step


def _weights(operation: Operation, editor: Editor) -> Tensor | None:
    row = CONSTRAINTS.get(operation.kind)
    value = None if row is None or row.weights is None else operation.input(row.weights)
    if not isinstance(value, ir.Value) or not is_weight(value):
        return None
    return editor.tensors.get(name_of(value))


def _asymmetric(tensor: Tensor | None) -> bool:
    """Whether unsigned codes are no signed ones without zero points."""
    scales = None if tensor is None else scales_of(tensor)
    if tensor is None or scales is None or not is_byte(tensor.encoding.codes, signed=False):
        return False
    return bool((scales.zero != MIDDLE).any())


def _mixed(operation: Operation, editor: Editor, activations: Activations) -> bool:
    values = [v for v in (*operation.inputs, *operation.outputs) if isinstance(v, ir.Value)]
    found = [activations[name_of(v)].codes for v in values if name_of(v) in activations]
    signs = {codes.signed for codes in found if codes in (SIGNED, UNSIGNED)}
    tensor = _weights(operation, editor)
    scales = None if tensor is None else scales_of(tensor)
    if (
        signs
        and tensor is not None
        and scales is not None
        and tensor.encoding.codes in (SIGNED, UNSIGNED)
    ):
        unsigned = is_byte(tensor.encoding.codes, signed=False)
        if unsigned and scales.axis is not None:
            return False in signs  # unsigned kernels know one scale only
        if not unsigned or _asymmetric(tensor):
            signs.add(not unsigned)
    return len(signs) > 1


def _needs_unsigned(operations: list[Operation], editor: Editor) -> bool:
    tensors = [tensor for op in operations if (tensor := _weights(op, editor)) is not None]
    if not any(_asymmetric(tensor) for tensor in tensors):
        return False
    return not any(s is not None and s.axis is not None for s in map(scales_of, tensors))
