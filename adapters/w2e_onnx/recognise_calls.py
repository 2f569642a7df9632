"""Calls of the functions that the LiteRT lowering writes, back to canonical nodes: the inverse of `lowering.litert.emit`.

A call is known by its domain, the kind in its name and the digest of its function's body; what it is
applied to is said by its inputs and attributes (`lowering.litert.call`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.errors import BridgeError
from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import Unrecognised, attribute_of, is_weight, name_of
from w2e_bridge.graph.planes import GridStorage
from w2e_bridge.graph.qdq_weights import grid_of, matrix_of, shortest
from w2e_bridge.graph.weights import DTYPES
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.codes import Integer
from w2e_bridge.ir.encoding import WHOLE, Encoding, Offset, OffsetKind
from w2e_bridge.ir.model import Remark
from w2e_bridge.ir.plain import PLAIN
from w2e_bridge.ir.tensor import Tensor, plain_tensor
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.hybrid import KINDS as HYBRID
from w2e_bridge.kernels.hybrid import dynamic
from w2e_bridge.kernels.operation import Attribute, Operation
from w2e_bridge.kernels.table import build, kinds
from w2e_onnx.lowering.litert import call as calls
from w2e_onnx.lowering.litert.bodies import reconcile
from w2e_onnx.lowering.litert.emit import SIGNED, UNSIGNED

SUFFIXES = (".codes", ".unsigned", ".made", ".signed")
"""What the lowering puts behind a value's name for the one that travels in its place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """Quantization of one operand or output as a call says it.

    Attributes:
        type: of its codes.
        axis: of its scales; `calls.WHOLE` or `calls.PLAIN` for one, or none.
        scale, zero_point: the call's inputs; None where it is not quantized.
    """

    type: str
    axis: int
    scale: ir.Value | None = None
    zero_point: ir.Value | None = None


@dataclass(slots=True, kw_only=True)
class Calls:
    """Rewrites the calls of one model.

    Attributes:
        editor: the model.
        values: quantization found so far.
        remarks: calls that stay.
    """

    editor: Editor
    values: dict[str, ActivationQuantization] = field(default_factory=dict)
    remarks: list[Remark] = field(default_factory=list)

    def run(self) -> None:
        """Rewrite every call whose function is what its name says."""
        for node in self.editor.nodes():
            if node.domain != calls.DOMAIN:
                continue
            try:
                self.rewrite(node)
            except (Unrecognised, BridgeError) as reason:
                self.remarks.append(
                    Remark(name=name_of(node.outputs[0]), reason=f"{node.op_type}: {reason}")
                )
        reconcile(list(self.editor.nodes()), self.values)

    def rewrite(self, node: ir.Node) -> None:
        """Put canonical nodes in the place of a call.

        before: a call on codes.
        after:  the operation's canonical nodes on real numbers, quantization beside them.
        why exact: codes, scales and zero points are the call's own inputs.
        """
        kind = self.kind(node)
        slots = list(_slots(node))
        count = len(slots) - len(node.outputs)
        if kind in (UNSIGNED, SIGNED):
            self.border(node, kind, slots[0])
            return
        place = _Before(editor=self.editor, node=node)
        operands = [
            self.operand(v, s) for v, s in zip(node.inputs[:count], slots[:count], strict=True)
        ]
        operands = self.rounded(kind, node, operands, slots)
        outputs = [self.output(v, s) for v, s in zip(node.outputs, slots[count:], strict=True)]
        operation = Operation(
            kind=kind, inputs=tuple(operands), outputs=tuple(outputs), attributes=_attributes(node)
        )
        builder = Builder(place=place, tensors=self.editor.tensors, values=self.values)
        if kind.startswith("onnx:"):
            raise Unrecognised("a node that no kind knows")
        build(operation, builder)
        for function in builder.functions.values():
            self.editor.model.functions.setdefault(function.identifier(), function)
        for old, new in zip(node.outputs, outputs, strict=True):
            old.replace_all_uses_with(new, replace_graph_outputs=True)
        self.editor.drop([node])
        for old, new in zip(node.outputs, outputs, strict=True):
            self.rename(new, _base(name_of(old)))

    def kind(self, node: ir.Node) -> str:
        """The kind that a call is of, its function checked."""
        function = self.editor.model.functions.get(node.op_identifier())
        name, _, said = node.op_type.rpartition("_")
        if function is None or calls.digest(list(function), list(function.outputs)) != said:
            raise Unrecognised("a function with another body")
        if name.startswith("custom_"):
            return f"custom:{name.removeprefix('custom_')}"
        if name.startswith("onnx_"):
            return f"onnx:{name.removeprefix('onnx_')}"
        if name not in kinds() and name not in (UNSIGNED, SIGNED):
            raise Unrecognised("a kind that is not known here")
        return name

    def border(self, node: ir.Node, kind: str, slot: Parameters) -> None:
        """A public value whose codes are shifted: the shift is the lowering's, not the model's."""
        value, output = node.inputs[0], node.outputs[0]
        if value is None:
            raise Unrecognised("no input")
        self.quantized(value, slot)
        if (
            kind == SIGNED
            and output.is_graph_output()
            and (value.is_graph_input() or value.is_graph_output())
        ):
            copy = ir.node("Identity", [value])
            made = copy.outputs[0]
            made.type, made.shape = ir.TensorType(ir.DataType.FLOAT), output.shape
            assert isinstance(node.graph, ir.Graph)
            node.graph.insert_before(node, copy)
            value = made
        output.replace_all_uses_with(value, replace_graph_outputs=True)
        name = name_of(output)
        if value.shape is None:
            value.shape = output.shape
        self.editor.drop([node])
        if kind == SIGNED and value.is_graph_output():
            self.rename(value, name)

    def operand(self, value: ir.Value | None, slot: Parameters) -> ir.Value | None:
        """An operand in the canonical graph."""
        if value is None or slot.axis in (calls.PLAIN, calls.DYNAMIC):
            return value
        if is_weight(value):
            self.constant(value, slot)
        else:
            self.quantized(value, slot)
        return value

    def rounded(
        self,
        kind: str,
        node: ir.Node,
        operands: list[ir.Value | None],
        slots: Sequence[Parameters],
    ) -> list[ir.Value | None]:
        """The operands, those that the kernel rounds at run time under a name that says so."""
        found = list(operands)
        for index, slot in enumerate(slots[: len(operands)]):
            value = operands[index]
            if slot.axis != calls.DYNAMIC or value is None or kind not in HYBRID:
                continue
            name = self.editor.free(f"{name_of(value)}.rounded")
            made = ir.Value(name=name, type=value.type, shape=value.shape)
            _Before(editor=self.editor, node=node).append(
                ir.node("Identity", [value], outputs=[made])
            )
            self.values[name] = dynamic(kind, _attributes(node))
            found[index] = made
        return found

    def constant(self, value: ir.Value, slot: Parameters) -> None:
        """Make codes with a scale one tensor."""
        codes = self.editor.constant(value)
        if codes.encoding.quantized:
            return
        encoded = encoded_tensor(codes, slot, self.editor)
        self.editor.tensors[codes.name] = encoded
        graph = value.graph
        assert isinstance(graph, ir.Graph)
        kind = DTYPES[encoded.dtype]
        value.type = ir.TensorType(kind)
        from w2e_bridge.graph.weights import WeightStub

        value.const_value = WeightStub(codes.name, kind, encoded.shape)

    def quantized(self, value: ir.Value, slot: Parameters) -> None:
        """Say the quantization of a value, and make it a real one."""
        value.type = ir.TensorType(ir.DataType.FLOAT)
        self.values.setdefault(name_of(value), _quantization(slot, self.editor))

    def output(self, value: ir.Value, slot: Parameters) -> ir.Value:
        """A new canonical value for an output."""
        made = ir.Value(
            name=self.editor.free(f"{name_of(value)}.value"), shape=value.shape, type=value.type
        )
        if slot.axis not in (calls.PLAIN, calls.DYNAMIC):
            self.quantized(made, slot)
        return made

    def rename(self, value: ir.Value, name: str) -> None:
        """Give a value its own name, its quantization with it."""
        old = name_of(value)
        self.editor.taken.discard(old)
        value.name = self.editor.free(name)
        if old in self.values:
            self.values[name_of(value)] = self.values.pop(old)


def encoded_tensor(codes: Tensor, slot: Parameters, editor: Editor) -> Tensor:
    """Codes, scales and zero points of a file as one tensor; nothing of the codes is read."""
    scale, zero = editor.constant(slot.scale), editor.constant(slot.zero_point)
    rank = len(codes.shape) or 1
    extents = (WHOLE,) * rank
    if slot.axis >= 0:
        extents = tuple(1 if a == slot.axis else WHOLE for a in range(rank))
    if len(scale.shape) > 1:
        extents = (*(1 for _ in range(rank - 1)), codes.columns // scale.columns)
    offset = None
    if numbers(zero).any():
        offset = Offset(kind=OffsetKind.ZERO_POINT, encoding=zero.encoding)
    encoding = Encoding(
        codes=PLAIN[slot.type].codes, block=shortest(extents), scale=scale.encoding, offset=offset
    )
    storage = GridStorage(
        codes=matrix_of(codes, codes.columns),
        scale=grid_of(scale, codes.shape, extents),
        offset=None if offset is None else grid_of(zero, codes.shape, extents),
    )
    return replace(codes, dtype="float32", encoding=encoding, storage=storage)


def numbers(tensor: Tensor) -> NDArray[np.generic]:
    """All numbers of a small plain tensor."""
    return tensor.storage.parts(0, tensor.rows).codes.reshape(tensor.shape)


def _quantization(slot: Parameters, editor: Editor) -> ActivationQuantization:
    scale, zero = editor.constant(slot.scale), editor.constant(slot.zero_point)
    codes = PLAIN[slot.type].codes
    if not isinstance(codes, Integer):
        raise Unrecognised(f"codes of type {slot.type}")
    points = numbers(zero).astype(np.int64)
    if slot.type == "int8" and zero.dtype == "uint8":
        points = points - calls.SHIFT
    return ActivationQuantization(
        codes=codes,
        scale=numbers(scale).astype(np.float32),
        zero_point=points if points.any() else None,
    )


def _slots(node: ir.Node) -> Iterator[Parameters]:
    types, axes = _texts(node, "types"), _integers(node, "axes")
    if len(types) != len(axes) or len(types) < len(node.outputs):
        raise Unrecognised("attributes that don't fit together")
    position = len(types) - len(node.outputs)
    for name, axis in zip(types, axes, strict=True):
        if axis in (calls.PLAIN, calls.DYNAMIC):
            yield Parameters(type=name, axis=axis)
            continue
        if position + 2 > len(node.inputs) or name not in PLAIN:
            raise Unrecognised("inputs that are missing")
        scale, zero = node.inputs[position : position + 2]
        yield Parameters(type=name, axis=axis, scale=scale, zero_point=zero)
        position += 2


def _texts(node: ir.Node, name: str) -> Sequence[str]:
    found = attribute_of(node, name)
    if not isinstance(found, tuple) or not all(isinstance(item, str) for item in found):
        raise Unrecognised(f"attribute '{name}'")
    return found


def _integers(node: ir.Node, name: str) -> Sequence[int]:
    found = attribute_of(node, name)
    if not isinstance(found, tuple) or not all(isinstance(item, int) for item in found):
        raise Unrecognised(f"attribute '{name}'")
    return found


def _attributes(node: ir.Node) -> dict[str, Attribute]:
    found = {name: attribute_of(node, name) for name in node.attributes}
    options = found.get("custom_options")
    if isinstance(options, tuple):  # bytes are carried as numbers
        found["custom_options"] = bytes(n for n in options if isinstance(n, int) and 0 <= n < 256)
    return {k: v for k, v in found.items() if k not in ("types", "axes") and v is not None}  # type: ignore[misc]


def _base(name: str) -> str:
    return next((name.removesuffix(s) for s in SUFFIXES if name.endswith(s)), name)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Before:
    """The place before a node (`kernels.build.Place`)."""

    editor: Editor
    node: ir.Node

    def append(self, node: ir.Node) -> None:
        assert isinstance(self.node.graph, ir.Graph)
        self.node.graph.insert_before(self.node, node)

    def constant(self, name: str, array: NDArray[np.generic]) -> ir.Value:
        assert isinstance(self.node.graph, ir.Graph)
        return self.editor.register(self.node.graph, plain_tensor(name, np.asarray(array)))

    def fresh(self, name: str) -> str:
        return self.editor.free(name)


def recognise(editor: Editor) -> tuple[dict[str, ActivationQuantization], tuple[Remark, ...]]:
    """Rewrite all calls of a model; the quantization of its values, and what stays."""
    found = Calls(editor=editor)
    found.run()
    return found.values, tuple(found.remarks)
