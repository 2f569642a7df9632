"""Plain constants among the operands of an integer operation: as codes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import is_weight, name_of
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.codes import Integer
from w2e_bridge.ir.encoding import FLOAT32, Encoding, Offset, OffsetKind, integers
from w2e_bridge.ir.parts import AnyArray, Parts
from w2e_bridge.ir.plain import numpy_type
from w2e_bridge.ir.tensor import OwnedStorage, Tensor
from w2e_bridge.kernels.operation import Operand, Operation
from w2e_bridge.passes.layout.site import constant, is_constant
from w2e_bridge.passes.legalize.constraints import Constraint, Rule
from w2e_bridge.passes.legalize.encodings import axis_block, is_byte, shifted


def operands(operation: Operation, row: Constraint | None) -> list[ir.Value]:
    """The operands that are numbers."""
    data = None if row is None else row.data
    indices = range(len(operation.inputs)) if data is None else data
    found: Iterator[Operand] = (operation.input(index) for index in indices)
    return [value for value in found if isinstance(value, ir.Value)]


def computed(operation: Operation, row: Constraint | None) -> list[ir.Value]:
    """Those of them that are no constants."""
    return [value for value in operands(operation, row) if value.const_value is None]


def as_codes(
    operation: Operation, row: Constraint, editor: Editor, wanted: ActivationQuantization
) -> Operation:
    """Make codes of the plain constants that an operation reads, where no number changes.

    before: one number c among the operands; or, of a choice or a move, any.
    after: c = 1 * c, a code and a scale; or the codes that the output would have for it.
    why exact: the first says the same number; of the second, rounding commutes with a choice.

    Args:
        operation: reads them.
        row: its row.
        editor: edits the tensors.
        wanted: quantization of the output, whose type the codes get.

    Returns:
        The operation with the constants that it reads now.
    """
    became: dict[ir.Value, ir.Value] = {}
    for value in operands(operation, row):
        if not is_constant(value):
            continue
        made = _made(value, row, editor, wanted)
        if made is not None:
            became[value] = put(operation, value, made, editor)
    inputs = tuple(became.get(v, v) if isinstance(v, ir.Value) else v for v in operation.inputs)
    return replace(operation, inputs=inputs)


def _made(
    value: ir.Value, row: Constraint, editor: Editor, wanted: ActivationQuantization
) -> Tensor | None:
    """A constant as codes, None where it stays as it is."""
    tensor = editor.tensors.get(name_of(value)) if is_weight(value) else None
    if tensor is not None and tensor.encoding.quantized:
        made = _with_sign(tensor, wanted)
        return None if made is tensor else made
    array = constant(value, editor.tensors)
    return None if array is None else _codes(value, array, row, wanted)


def put(operation: Operation, old: ir.Value, new: Tensor, editor: Editor) -> ir.Value:
    """Let the nodes of an operation read another constant; it is the same value where nobody else reads it."""
    users = [(user, slot) for user, slot in old.uses() if user in operation.nodes]
    graph = operation.nodes[-1].graph
    assert isinstance(graph, ir.Graph)
    if len(users) == len(old.uses()) and is_weight(old):
        editor.tensors[name_of(old)] = replace(new, name=name_of(old))
        return old
    stub = editor.register(graph, replace(new, name=name_of(old)))
    for user, slot in users:
        user.replace_input_with(slot, stub)
    return stub


def _with_sign(tensor: Tensor, wanted: ActivationQuantization) -> Tensor:
    for signed in (True, False):
        if is_byte(wanted.codes, signed=signed) and is_byte(
            tensor.encoding.codes, signed=not signed
        ):
            return shifted(tensor, signed=signed)
    return tensor


def _codes(
    value: ir.Value, array: AnyArray, row: Constraint, wanted: ActivationQuantization
) -> Tensor | None:
    if array.dtype != np.float32 or not isinstance(wanted.codes, Integer):
        return None
    if row.rule in (Rule.JOIN, Rule.MOVE):
        return rounded(value, array, wanted)
    if array.size != 1 or row.rule not in (Rule.FREE, Rule.PLACES):
        return None
    number = float(array.reshape(-1)[0])
    if not np.isfinite(number):
        return None
    # With a scale of the number itself there is no rounding; unsigned codes count down from 1.
    negative_unsigned = number < 0 and not wanted.codes.signed
    own = replace(
        wanted,
        scale=np.asarray(abs(number) or 1.0, np.float32),
        zero_point=np.asarray(1, np.int64) if negative_unsigned else None,
        axis=None,
    )
    return rounded(value, array, own)


def rounded(value: ir.Value, array: AnyArray, q: ActivationQuantization) -> Tensor:
    """A constant rounded as a value would be."""
    codes = q.codes
    assert isinstance(codes, Integer)
    assert q.scale is not None
    zero = np.zeros((), np.int64) if q.zero_point is None else q.zero_point.astype(np.int64)
    with np.errstate(over="ignore"):
        exact = np.rint(array.astype(np.float32) / q.scale.astype(np.float32))
    kind = numpy_type(Encoding(codes=codes))
    held = np.clip(exact.astype(np.float64) + zero, codes.low, codes.high).astype(kind)
    stored = Offset(kind=OffsetKind.ZERO_POINT, encoding=integers(codes.bits, signed=codes.signed))
    encoding = Encoding(
        codes=codes,
        block=axis_block(None, max(1, array.ndim)),
        scale=FLOAT32,
        offset=stored if zero.any() else None,
    )
    columns = array.shape[-1] if array.ndim else 1
    whole = Parts(
        codes=held.reshape(-1, columns),
        scale=Parts(codes=q.scale.astype(np.float32).reshape(1, 1)),
        offset=Parts(codes=zero.astype(kind).reshape(1, 1)) if zero.any() else None,
    )
    return Tensor(
        name=name_of(value),
        shape=array.shape,
        dtype="float32",
        encoding=encoding,
        storage=OwnedStorage(whole=whole),
    )
