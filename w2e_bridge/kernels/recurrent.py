"""Simple recurrent networks and SVDF, in real numbers, as TensorFlow Lite has them.

Each becomes a call of a function of domain `w2e` with the same operands, as those of `kernels.lstm`.
Sources: tensorflow/lite/kernels/internal/kernel_utils.cc (`RnnBatchStep`), internal/reference/svdf.h
(`EvalFloatSVDF`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.function import Functional, plain_attributes
from w2e_bridge.kernels.kind import Kind
from w2e_bridge.kernels.lstm import FLOATS, Products, activate, build_call, match_call
from w2e_bridge.kernels.lstm_cell import Operands, needed
from w2e_bridge.kernels.operation import Constant, Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where the operands of one direction of a simple network stand; -1 for none.

    Attributes:
        weights, recurrent, bias, hidden: of the direction.
        auxiliary, auxiliary_weights: a second sequence and its weights.
    """

    weights: int = 1
    recurrent: int = 2
    bias: int = 3
    hidden: int = 4
    auxiliary: int = -1
    auxiliary_weights: int = -1


BOTH_WAYS = (
    Layout(auxiliary=9, auxiliary_weights=10),
    Layout(weights=5, recurrent=6, bias=7, hidden=8, auxiliary=9, auxiliary_weights=11),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """An operator of simple networks.

    Attributes:
        name: of its function.
        sequence: whether it is given a sequence; else one step of it.
        directions: layouts of its directions.
    """

    name: str
    sequence: bool = True
    directions: tuple[Layout, ...] = (Layout(),)


NETWORKS: Mapping[str, Operator] = {
    "rnn": Operator(name="RNN", sequence=False),
    "unidirectional_sequence_rnn": Operator(name="UnidirectionalSequenceRNN"),
    "bidirectional_sequence_rnn": Operator(name="BidirectionalSequenceRNN", directions=BOTH_WAYS),
}
"""Kinds by name."""


def network(
    body: Functional, operation: Operation, operands: Operands, products: Products = FLOATS
) -> list[ir.Value]:
    """Append a simple network: sequences, then states, in the order of `kernels.state`."""
    operator = NETWORKS[operation.kind]
    results, states = [], []
    for index, layout in enumerate(operator.directions):
        every, last = _direction(body, operation, operands, layout, products, index > 0)
        results.append(_out(body, operation, every))
        states.append(last)
    if operation.integer("merge_outputs"):
        results = [body.joined(results, -1)]
    return [*results, *states]


def _direction(
    body: Functional,
    operation: Operation,
    operands: Operands,
    layout: Layout,
    products: Products,
    backward: bool,
) -> tuple[ir.Value, ir.Value]:
    total = needed(operands, layout.bias)
    for x, weights in _sequences(operation, operands, layout, backward=backward):
        product = products.before(body, [needed(operands, weights)])
        total = body.add("Add", [product(_in(body, operation, x)), total])
    recurrent = products.inside(body, [needed(operands, layout.recurrent)])
    kind = operation.text("fused_activation_function")

    def step(states: tuple[ir.Value, ...], part: ir.Value) -> tuple[tuple[ir.Value, ...], ir.Value]:
        sums = products.widened(body, body.add("Add", [part, recurrent(states[0])]))
        result = activate(body, sums, kind)
        return (products.kept(body, result),), result

    begin = [needed(operands, layout.hidden)]
    (last,), every = body.over(step, begin, total, backward=backward)
    return products.kept(body, every), last


def _sequences(
    operation: Operation, operands: Operands, layout: Layout, *, backward: bool
) -> list[tuple[ir.Value, int]]:
    """Sequences and the places of their weights.

    A second sequence without weights is the backward direction's own, but only where time comes first: with
    the batch first, both of the kernel's directions read the first one (bidirectional_sequence_rnn.cc).
    """
    x = needed(operands, 0)
    second = operands[layout.auxiliary] if 0 <= layout.auxiliary < len(operands) else None
    place = layout.auxiliary_weights
    if second is None:
        return [(x, layout.weights)]
    if place < len(operands) and operands[place] is not None:
        return [(x, layout.weights), (second, place)]
    own = backward and operation.integer("time_major")
    return [(second if own else x, layout.weights)]


def _in(body: Functional, operation: Operation, value: ir.Value) -> ir.Value:
    """A sequence with time first."""
    if not NETWORKS[operation.kind].sequence:
        return body.add("Unsqueeze", [value, body.literal(np.asarray([0], np.int64))])
    first = operation.integer("time_major")
    return value if first else body.add("Transpose", [value], {"perm": (1, 0, 2)})


def _out(body: Functional, operation: Operation, value: ir.Value) -> ir.Value:
    """The inverse of `_in`."""
    if not NETWORKS[operation.kind].sequence:
        return body.add("Squeeze", [value, body.literal(np.asarray([0], np.int64))])
    first = operation.integer("time_major")
    return value if first else body.add("Transpose", [value], {"perm": (1, 0, 2)})


def filters(operation: Operation) -> tuple[int, int]:
    """(filters, memory) of SVDF: the shape of its weights over time."""
    operand = operation.input(2)
    shape = operand.array.shape if isinstance(operand, Constant) else _shape(operand)
    if len(shape) != 2:
        raise UnsupportedError("SVDF with weights of unknown shape")
    return shape[0], shape[1]


def _shape(value: ir.Value | None) -> tuple[int, ...]:
    shape = None if value is None else value.shape
    return () if shape is None else tuple(d for d in shape if isinstance(d, int))


def moved(
    body: Functional, operation: Operation, state: ir.Value, new: ir.Value
) -> tuple[ir.Value, ir.Value]:
    """The memory of SVDF with a new column: (batch, filters, memory), and flat as it is kept."""
    count, memory = filters(operation)
    shape = body.literal(np.asarray([-1, count, memory], np.int64))
    ends = [body.literal(np.asarray([n], np.int64)) for n in (1, memory, 2)]
    old = body.add("Slice", [body.add("Reshape", [state, shape]), *ends])
    last = body.add("Unsqueeze", [new, ends[2]])
    whole = body.joined([old, last], 2)
    flat = body.literal(np.asarray([-1, count * memory], np.int64))
    return whole, body.add("Reshape", [whole, flat])


def summed(body: Functional, operation: Operation, products: ir.Value) -> ir.Value:
    """Sums over the memory, then over the filters of each unit."""
    count, _ = filters(operation)
    rank = operation.integer("rank", 1)
    if rank < 1 or count % rank:
        raise UnsupportedError(f"SVDF of rank {rank} with {count} filters")
    last = body.literal(np.asarray([-1], np.int64))
    sums = body.add("ReduceSum", [products, last], {"keepdims": 0})
    if rank == 1:
        return sums
    grouped = body.literal(np.asarray([-1, count // rank, rank], np.int64))
    return body.add("ReduceSum", [body.add("Reshape", [sums, grouped]), last], {"keepdims": 0})


def svdf(
    body: Functional, operation: Operation, operands: Operands, products: Products = FLOATS
) -> list[ir.Value]:
    """Append SVDF: the output, and the memory as it is kept."""
    new = products.before(body, [needed(operands, 1)])(needed(operands, 0))
    whole, kept = moved(body, operation, needed(operands, 4), new)
    total = summed(body, operation, body.add("Mul", [whole, needed(operands, 2)]))
    if operands[3] is not None:
        total = body.add("Add", [total, needed(operands, 3)])
    return [activate(body, total, operation.text("fused_activation_function")), kept]


Append = Callable[[Functional, Operation, Operands], list[ir.Value]]


def function(name: str, append: Append, operation: Operation) -> ir.Function:
    """The function of an operation."""
    formal = [ir.Value(name=f"operand_{index}") for index in range(len(operation.inputs))]
    operands = [
        None if operand is None else value
        for operand, value in zip(operation.inputs, formal, strict=True)
    ]
    body = Functional()
    outputs = append(body, operation, operands)[: len(operation.outputs)]
    return body.finish(name, formal, outputs, plain_attributes(operation.attributes))


def _kind(kind: str, name: str, append: Append) -> Kind:
    def build(operation: Operation, builder: Builder) -> None:
        build_call(operation, builder, function(name, append, operation))

    return Kind(name=kind, build=build, roots=(f"w2e::{name}",), match=match_call(kind))


KINDS = (
    *(_kind(kind, operator.name, network) for kind, operator in NETWORKS.items()),
    _kind("svdf", "SVDF", svdf),
)
