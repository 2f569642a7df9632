"""One call of a function of domain `w2e.litert`: what a rule is given, and the function that comes of it.

A call stands for one operation of `w2e_bridge.kernels`. Its inputs are

1. the operands, one each, in the operation's order ("" where one is left out): 8-bit codes of values
   travel as uint8 (of an int8 value: code + 128, zero point + 128), all else in its own type; constants
   are stored in the operation's own type and order, so that the file has the source's codes;
2. scale and zero point (in the type of the codes as they travel) of every quantized operand, then of every
   quantized output;
3. numbers derived from those, which only the function's body reads.

Its attributes are the operation's own, and `types` (operands, then outputs, "" where left out) and `axes`
(along which an operand or output has its scales, -1 for one scale, -2 where it is not quantized,
-3 where the kernel itself rounds it at run time). The function is named after the kind
and a digest of its body, so that a reader knows both: see `w2e_onnx.recognise_calls`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.graph.weights import DTYPES
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.kernels.operation import Operation

DOMAIN = "w2e.litert"
MICROSOFT = "com.microsoft"
SHIFT = 128
"""What is added to int8 codes on their way between calls."""

Dimension = int | str | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Quantized:
    """Quantization of an operand or output, as numbers to plan with.

    Attributes:
        type: of its codes: "int8", "uint8", "int16", "int4", "int2", "int32", "int64".
        scale: float32, rank 0 or 1; of blocks of rows in their own type, of the codes' rank.
        zero_point: int64 of the same shape, in the codes' own type (not shifted).
        axis: along which the scales lie, None for one scale; of blocks the last one.
    """

    type: str
    scale: NDArray[np.floating]
    zero_point: NDArray[np.int64]
    axis: int | None = None

    @property
    def blocks(self) -> bool:
        """Whether the scales are of blocks of rows."""
        return self.scale.ndim > 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slot:
    """An operand or output as a rule sees it.

    Attributes:
        type: "int8", "float32", …: what the operation says.
        shape: of the value; a dimension that is not a number is known at run time only.
        value: formal input that has the codes (or plain numbers) as they travel; None of an output.
        scale, zero_point: formal inputs, of the type of the travelling codes; None where not quantized.
        quantized: the same as numbers; None where not quantized.
        dynamic: quantization that a kernel computes at run time from this float operand, if any.
        tensor: the constant behind it.
        carried: type of the codes as they travel.
    """

    type: str
    shape: tuple[Dimension, ...] | None
    carried: str
    value: ir.Value | None = None
    scale: ir.Value | None = None
    zero_point: ir.Value | None = None
    quantized: Quantized | None = None
    dynamic: ActivationQuantization | None = None
    tensor: Tensor | None = None
    numbers: NDArray[np.generic] | None = None

    @property
    def shift(self) -> int:
        """What was added to the operation's own codes."""
        return SHIFT if self.type == "int8" and self.carried == "uint8" else 0

    def array(self) -> NDArray[np.generic]:
        """Numbers or codes of a constant operand, in its own shape and type."""
        if self.numbers is not None:
            return self.numbers
        assert self.tensor is not None
        return self.tensor.storage.parts(0, self.tensor.rows).codes.reshape(self.tensor.shape)


@dataclass(slots=True, kw_only=True)
class Call:
    """What a rule works with: appends nodes to the function's body and returns its outputs.

    Attributes:
        operation: what is computed.
        reference: whether LiteRT's reference kernels are to be equalled (then standard operators only),
            else its default ones.
        signed: whether products with signed weights are exact where it runs; see `accumulator.factor`.
        operands, outputs: as above.
    """

    operation: Operation
    reference: bool
    signed: bool = False
    operands: tuple[Slot | None, ...]
    outputs: tuple[Slot, ...]
    nodes: list[ir.Node] = field(default_factory=list)
    derived: dict[str, tuple[ir.Value, NDArray[np.generic]]] = field(default_factory=dict)
    functions: dict[str, ir.Function] = field(default_factory=dict)
    _names: dict[str, int] = field(default_factory=dict)

    def operand(self, index: int) -> Slot:
        """An operand that must be there."""
        slot = self.operands[index] if index < len(self.operands) else None
        assert slot is not None
        return slot

    def optional(self, index: int) -> Slot | None:
        """An operand that may be left out."""
        return self.operands[index] if index < len(self.operands) else None

    def fresh(self, name: str) -> str:
        """A name that nothing in the body has."""
        count = self._names[name] = self._names.get(name, 0) + 1
        return name if count == 1 else f"{name}_{count}"

    def append(self, node: ir.Node) -> None:
        """Put a node into the body (`kernels.build.Place`)."""
        self.nodes.append(node)

    def add(
        self,
        op: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, object] | None = None,
        *,
        domain: str = "",
        name: str | None = None,
    ) -> ir.Value:
        """Append a node of one output."""
        made = ir.node(op, inputs, attributes or {}, domain=domain)  # type: ignore[arg-type]
        made.outputs[0].name = self.fresh(name or op.lower())
        made.name = f"{made.outputs[0].name}_node"
        self.nodes.append(made)
        return made.outputs[0]

    def add_many(
        self,
        op: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, object] | None = None,
        *,
        count: int,
        domain: str = "",
    ) -> tuple[ir.Value, ...]:
        """Append a node of several outputs."""
        made = ir.node(op, inputs, attributes or {}, domain=domain, num_outputs=count)  # type: ignore[arg-type]
        made.name = self.fresh(f"{op.lower()}_node")
        for output in made.outputs:
            output.name = self.fresh(op.lower())
        self.nodes.append(made)
        return tuple(made.outputs)

    def cast(self, value: ir.Value, dtype: str) -> ir.Value:
        """Append a Cast."""
        return self.add("Cast", [value], {"to": int(DTYPES[dtype])})

    def literal(self, array: NDArray[np.generic] | np.generic, name: str = "literal") -> ir.Value:
        """A number that is the same in every call: part of the body."""
        data = ir.Tensor(np.asarray(array))
        return self.add("Constant", [], {"value": data}, name=name)

    def constant(self, name: str, array: NDArray[np.generic]) -> ir.Value:
        """A number that depends on this operation's scales: a further input (`kernels.build.Place`)."""
        formal = ir.Value(name=self.fresh(name))
        self.derived[formal.name or ""] = (formal, np.asarray(array))
        return formal

    def centred(self, slot: Slot, dtype: str = "int32") -> ir.Value:
        """Codes minus zero point, int32 or another type: the same whether they travel shifted or not."""
        assert slot.value is not None
        codes = self.cast(slot.value, dtype)
        quantized = slot.quantized
        if slot.zero_point is None or (
            quantized is not None and not quantized.zero_point.any() and not slot.shift
        ):
            return codes
        return self.add("Sub", [codes, self.cast(slot.zero_point, dtype)])

    def function(self, outputs: Sequence[ir.Value], opsets: Mapping[str, int]) -> ir.Function:
        """The function of these nodes, named after its body."""
        for value in (*self.formals(), *(output for node in self.nodes for output in node.outputs)):
            value.type = value.shape = None  # one body serves calls of many shapes
        # A function's outputs are its own: an operand passed through needs a node.
        made = {output for node in self.nodes for output in node.outputs}
        seen: set[ir.Value] = set()
        own = []
        for value in outputs:
            own.append(
                value if value in made and value not in seen else self.add("Identity", [value])
            )
            seen.add(own[-1])
        name = f"{self.operation.kind.replace(':', '_')}_{digest(self.nodes, own)}"
        attributes = [
            ir.Attr(key, kind_of(value), None) for key, value in self.attributes().items()
        ]
        domains = {node.domain for node in self.nodes} | {""}
        imports = {domain: opsets.get(domain, 1) for domain in sorted(domains)}
        graph = ir.Graph(self.formals(), own, nodes=self.nodes, opset_imports=imports, name=name)
        return ir.Function(DOMAIN, name, graph=graph, attributes=attributes)

    def slots(self) -> list[Slot]:
        """Operands that are there, then outputs."""
        return [slot for slot in self.operands if slot is not None] + list(self.outputs)

    def formals(self) -> list[ir.Value]:
        """Formal inputs in the order of the call."""
        first = [
            ir.Value(name=f"absent_{i}") if slot is None or slot.value is None else slot.value
            for i, slot in enumerate(self.operands)
        ]
        second = [
            v for slot in self.slots() for v in (slot.scale, slot.zero_point) if v is not None
        ]
        return [*first, *second, *(formal for formal, _ in self.derived.values())]

    def attributes(self) -> dict[str, object]:
        """Attributes of the call."""
        slots = [*self.operands, *self.outputs]
        own = {key: _plain(value) for key, value in sorted(self.operation.attributes.items())}
        own = {key: value for key, value in own.items() if value not in ((), [])}
        return {
            **own,
            "types": ["" if slot is None else slot.type for slot in slots],
            "axes": [_axis(slot) for slot in slots],
        }


DYNAMIC, PLAIN, WHOLE = -3, -2, -1
"""In `axes`: rounded by the kernel at run time, not quantized, one scale."""


def _axis(slot: Slot | None) -> int:
    quantized = None if slot is None else slot.quantized
    if quantized is None:
        return PLAIN if slot is None or slot.dynamic is None else DYNAMIC
    return WHOLE if quantized.axis is None else quantized.axis


def _plain(value: object) -> object:
    if isinstance(value, bool):
        return int(value)
    return list(value) if isinstance(value, tuple | bytes) else value


def kind_of(value: object) -> ir.AttributeType:
    """The ONNX type of an attribute."""
    first = value[0] if isinstance(value, list) else value
    scalar = {int: "INT", float: "FLOAT", str: "STRING", bytes: "STRING"}[type(first)]
    return ir.AttributeType[scalar + "S" if isinstance(value, list) else scalar]


def digest(nodes: Sequence[ir.Node], outputs: Sequence[ir.Value]) -> str:
    """Twelve hexadecimal digits that tell one body from another; names of nodes are no part of it."""
    said = json.dumps([_said(nodes), [v.name for v in outputs]], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:12]


def _said(nodes: Sequence[ir.Node]) -> list[object]:
    return [
        [
            node.domain,
            node.op_type,
            [None if value is None else value.name for value in node.inputs],
            [value.name for value in node.outputs],
            {name: _attribute(node.attributes[name]) for name in sorted(node.attributes)},
        ]
        for node in nodes
    ]


def _attribute(attribute: ir.Attr) -> object:
    if attribute.is_ref():
        return ["ref", attribute.ref_attr_name]
    if attribute.type == ir.AttributeType.TENSOR:
        tensor = attribute.as_tensor()
        return [str(tensor.dtype), list(tensor.numpy().shape), tensor.tobytes().hex()]
    if attribute.type == ir.AttributeType.GRAPH:
        graph = attribute.as_graph()
        return [
            [v.name for v in graph.inputs], [v.name for v in graph.outputs], _said(list(graph))
        ]  # fmt: skip
    value = attribute.value
    if attribute.type == ir.AttributeType.FLOAT:
        value = float(np.float32(value))  # as it is stored
    return [str(attribute.type), list(value) if isinstance(value, list | tuple) else str(value)]
