"""Control flow: IF is ONNX's If, WHILE its Loop, whose body also says whether to go on.

WHILE tests before each round: the condition's graph is there twice, before the Loop on what it begins with,
and at the end of its body on what the next round begins with. A Loop whose test is no function of its
values, or that counts its rounds, is a WHILE that carries the test's outcome and the count.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import Protocol

import numpy as np
import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.inspecting import given, is_weight, name_of
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.parts import decode
from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.kernels import bodies
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.kind import Kind
from w2e_bridge.kernels.operation import Constant, Operand, Operation
from w2e_bridge.kernels.scope import Scope

INT64_MAX = (1 << 63) - 1
"""A trip count that says no count."""

BOOL, COUNT = ir.TensorType(ir.DataType.BOOL), ir.TensorType(ir.DataType.INT64)


def _build_if(operation: Operation, builder: Builder) -> None:
    condition, *actual = (builder.value(operand) for operand in operation.inputs)
    attributes = {}
    for role in ("then", "else"):
        graph = operation.graphs[role]
        _agree(builder, graph.inputs, actual)
        _agree(builder, graph.outputs, operation.outputs)
        _own_outputs(graph, builder)
        bodies.opened(graph, actual)
        attributes[f"{role}_branch"] = graph
    builder.node("If", [condition], attributes, outputs=operation.outputs)
    _hoist(operation.outputs[0], list(attributes.values()))


def _build_while(operation: Operation, builder: Builder) -> None:
    actual = _no_constants([builder.value(operand) for operand in operation.inputs], builder)
    condition, body = operation.graphs["cond"], operation.graphs["body"]
    for graph in (condition, body):
        _agree(builder, graph.inputs, actual)
    _agree(builder, body.outputs, actual)
    _agree(builder, operation.outputs, actual)
    _own_outputs(body, builder)
    _own_outputs(condition, builder)
    before = _inlined(condition, actual, builder)
    bodies.opened(condition, list(body.outputs))
    test = condition.outputs[0]
    condition.outputs.clear()
    nodes = list(condition)
    condition.remove(nodes)
    body.extend(nodes)
    body.outputs.insert(0, test)
    bodies.hoist(condition, body)
    count, go_on = (builder.place.fresh(name) for name in ("round", "go_on"))
    body.inputs.insert(0, ir.Value(name=count, type=COUNT, shape=ir.Shape([])))
    body.inputs.insert(1, ir.Value(name=go_on, type=BOOL, shape=ir.Shape([])))
    builder.node("Loop", [None, before, *actual], {"body": body}, outputs=operation.outputs)
    _hoist(operation.outputs[0], [body])


def _own_outputs(graph: ir.Graph, builder: Builder) -> None:
    _same_quantization(builder, bodies.own_outputs(graph, builder.place.fresh))


def _inlined(graph: ir.Graph, actual: Sequence[ir.Value], builder: Builder) -> ir.Value:
    """A copy of a condition where the Loop stands."""
    mapping = dict(zip(graph.inputs, actual, strict=True))
    nodes = bodies.copied(graph, mapping, builder.place.fresh)
    for node in nodes:
        builder.place.append(node)
    old = [value for node in graph for value in node.outputs]
    _same_quantization(builder, {mapping[value]: value for value in old})
    return mapping[graph.outputs[0]]


def _hoist(made: ir.Value, graphs: Sequence[ir.Graph]) -> None:
    node = made.producer()
    outer = None if node is None else node.graph
    if isinstance(outer, ir.Graph):
        for graph in graphs:
            bodies.hoist(graph, outer)


class Known(Protocol):
    """What says how values and constants are quantized: a `Builder` or a `Scope`."""

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """Constants by name."""

    @property
    def values(self) -> Mapping[str, ActivationQuantization]:
        """Quantization of values by name."""


def quantization_of(known: Known, value: ir.Value) -> ActivationQuantization | None:
    """How a value or a constant is quantized; None also for a constant of several scales."""
    if not is_weight(value):
        return known.values.get(name_of(value))
    tensor = known.tensors.get(name_of(value))
    if tensor is None or not tensor.encoding.quantized or tensor.encoding.scale is None:
        return None
    parts = tensor.storage.parts(0, tensor.rows)
    if parts.scale is None:
        return None
    scales = np.unique(decode(tensor.encoding.scale, parts.scale))
    said = tensor.encoding.offset
    zeros = np.zeros(1, np.int64) if said is None else np.asarray([said.constant or 0], np.int64)
    if parts.offset is not None:
        zeros = np.unique(parts.offset.codes.astype(np.int64))
    if scales.size != 1 or zeros.size != 1:
        return None
    return ActivationQuantization(
        codes=tensor.encoding.codes,
        scale=scales.reshape(()).astype(np.float32),
        zero_point=zeros.reshape(()) if zeros.any() else None,
    )


def _agree(builder: Builder, a: Sequence[ir.Value], b: Sequence[ir.Value]) -> None:
    """TensorFlow Lite hands codes over as they are, so both sides must mean the same by them."""
    for x, y in zip(a, b, strict=True):
        if not alike(builder, x, y):
            raise UnsupportedError(
                f"'{name_of(x)}' and '{name_of(y)}' are the same codes with unlike scales"
            )


def alike(known: Known, a: ir.Value, b: ir.Value) -> bool:
    """Whether two values are quantized alike."""
    x, y = (quantization_of(known, value) for value in (a, b))
    if x is None or y is None:
        return x is y
    said = [
        (
            str(q.codes),
            np.asarray(q.scale, np.float32).tolist(),
            np.asarray(0 if q.zero_point is None else q.zero_point).tolist(),
        )
        for q in (x, y)
    ]
    return said[0] == said[1]


def _same_quantization(builder: Builder, pairs: Mapping[ir.Value, ir.Value]) -> None:
    values = builder.values
    if not isinstance(values, MutableMapping):
        return
    for new, old in pairs.items():
        if (known := quantization_of(builder, old)) is not None:
            values[name_of(new)] = known


def _no_constants(actual: list[ir.Value], builder: Builder) -> list[ir.Value]:
    """Operands of which each quantized constant has an Identity, for codes of a value are said beside it."""
    found = []
    for value in actual:
        if not is_weight(value) or quantization_of(builder, value) is None:
            found.append(value)
            continue
        same = bodies.like(value, builder.place.fresh(f"{name_of(value)}.same"))
        builder.node("Identity", [value], outputs=[same])
        _same_quantization(builder, {same: value})
        found.append(same)
    return found


def _constant_behind(value: ir.Value | None, scope: Scope) -> ir.Value | None:
    """The inverse of `_no_constants`."""
    node = None if value is None else scope.maker(value, "Identity")
    held = None if node is None else given(node, 0)
    if value is None or held is None or not is_weight(held) or not alike(scope, held, value):
        return value
    return held


def _graph(node: ir.Node, name: str) -> ir.Graph:
    return node.attributes[name].as_graph()


def _match_if(root: ir.Node, scope: Scope) -> Operation | None:
    branches = {role: _graph(root, f"{role}_branch") for role in ("then", "else")}
    outside = bodies.read_outside(branches.values())
    actual = [value for value in outside if not bodies.is_constant(value)]
    condition = given(root, 0)
    graphs = {}
    for role, branch in branches.items():
        inputs = {value: bodies.like(value, name_of(value)) for value in actual}
        graphs[role] = _passing(
            bodies.closed(name_of_graph(branch), branch, inputs, branch.outputs), scope
        )
    return Operation(
        kind="if",
        inputs=(condition, *actual),
        outputs=tuple(root.outputs),
        graphs=graphs,
        nodes=(root,),
    )


def name_of_graph(graph: ir.Graph) -> str:
    """A graph's name, never empty."""
    return graph.name or "body"


def _passing(graph: ir.Graph, scope: Scope) -> ir.Graph:
    """A graph without the Identities that only ONNX needs: outputs may be inputs."""
    for node in list(graph):
        if node.op_type != "Identity" or node.domain not in ("", "ai.onnx"):
            continue
        value, output = given(node, 0), node.outputs[0]
        if value is not None and alike(scope, value, output):
            output.replace_all_uses_with(value, replace_graph_outputs=True)
            graph.remove(node, safe=True)
    return graph


def _match_while(root: ir.Node, scope: Scope) -> Operation | None:
    body = _graph(root, "body")
    if len(body.outputs) != len(body.inputs) - 1 or len(root.inputs) != len(body.inputs):
        return None  # it also collects a slice of each round
    return _plain(root, body, scope) or _counting(root, body, scope)


def _captures(graphs: Sequence[ir.Graph]) -> list[ir.Value]:
    return [value for value in bodies.read_outside(graphs) if not bodies.is_constant(value)]


def _results(root: ir.Node, extra: Sequence[ir.Value], before: int) -> tuple[ir.Value, ...]:
    """Outputs of a WHILE with more values than the Loop has: nobody reads those."""
    label = name_of(root.outputs[0]) if root.outputs else root.name
    more = [bodies.like(value, f"{label}.{name_of(value)}") for value in extra]
    return (*more[:before], *root.outputs, *more[before:])


def _plain(root: ir.Node, body: ir.Graph, scope: Scope) -> Operation | None:
    """A Loop as `build` makes it: the test is the same function of what is carried, before and after."""
    counter, going, *formals = body.inputs
    test, *results = body.outputs
    if not _uncounted(root, scope) or counter.uses() or going.uses() or test in results:
        return None
    nodes = bodies.cone(test, results)
    begin, *actual = root.inputs[1:]
    operands = [_constant_behind(value, scope) for value in actual]
    pairs = dict(zip(results, actual, strict=True))
    if nodes is None or begin is None or not bodies.alike(test, begin, pairs):  # type: ignore[arg-type]
        return None
    own = set(nodes)
    if any(user not in own for node in nodes for v in node.outputs for user, _ in v.uses()):
        return None
    captures = _captures([body])
    inputs = dict(zip(formals, (bodies.like(v, name_of(v)) for v in formals), strict=True))
    inputs |= {value: bodies.like(value, name_of(value)) for value in captures}
    rest = [node for node in body if node not in own]
    whole = bodies.closed(name_of_graph(body), rest, inputs, [*results, *captures])
    tested = {r: bodies.like(f, name_of(f)) for r, f in zip(results, formals, strict=True)}
    tested |= {value: bodies.like(value, name_of(value)) for value in captures}
    condition = bodies.closed(f"{name_of_graph(body)}_cond", nodes, tested, [test])
    return Operation(
        kind="while",
        inputs=(*operands, *captures),
        outputs=_results(root, captures, 0),
        graphs={"cond": condition, "body": _passing(whole, scope)},
        nodes=(root,),
    )


def _uncounted(root: ir.Node, scope: Scope) -> bool:
    count = given(root, 0)
    return count is None or scope.number(count) == INT64_MAX


def _counting(root: ir.Node, body: ir.Graph, scope: Scope) -> Operation:
    """Any other Loop: whether to go on, and the number of the round, are carried too."""
    counter, going, *formals = body.inputs
    test, *results = body.outputs
    limit = None if _uncounted(root, scope) else given(root, 0)
    captures = _captures([body])
    if limit is not None and not bodies.is_constant(limit) and limit not in captures:
        captures.append(limit)
    states = [going, counter, *formals]
    inputs = {value: bodies.like(value, name_of(value)) for value in (*states, *captures)}
    whole = bodies.closed(name_of_graph(body), body, inputs, [test, counter, *results, *captures])
    counted = inputs[counter]
    one = _number(whole, f"{name_of(counter)}.one", np.asarray(1, np.int64))
    following = ir.node("Add", [counted, one])
    following.outputs[0].name = f"{name_of(counter)}.next"
    following.outputs[0].type, following.outputs[0].shape = COUNT, ir.Shape([])
    whole.append(following)
    whole.outputs[1] = following.outputs[0]
    begin = given(root, 1)
    first: tuple[Operand, ...] = (
        Constant(array=np.asarray(True), name=f"{name_of(going)}.begin")
        if begin is None
        else begin,
        Constant(array=np.asarray(0, np.int64), name=f"{name_of(counter)}.begin"),
    )
    return Operation(
        kind="while",
        inputs=(*first, *(_constant_behind(v, scope) for v in root.inputs[2:]), *captures),
        outputs=_results(root, [going, counter, *captures], 2),
        graphs={
            "cond": _test(name_of_graph(body), [*states, *captures], limit),
            "body": _passing(whole, scope),
        },
        nodes=(root,),
    )


def _test(name: str, values: Sequence[ir.Value], limit: ir.Value | None) -> ir.Graph:
    """Go on while the test says so and there are rounds left."""
    inputs = {value: bodies.like(value, name_of(value)) for value in values}
    going, counter = (inputs[value] for value in values[:2])
    if limit is None:
        return ir.Graph(list(inputs.values()), [going], nodes=[], name=f"{name}_cond")
    graph = ir.Graph(list(inputs.values()), [], nodes=[], name=f"{name}_cond")
    bound = inputs.get(limit)
    if bound is None:
        bound = bodies.like(limit, name_of(limit))
        bound.const_value = limit.const_value
        graph.register_initializer(bound)
    less, both = ir.node("Less", [counter, bound]), None
    both = ir.node("And", [going, less.outputs[0]])
    for node, label in ((less, "left"), (both, "go_on")):
        node.outputs[0].name = f"{name_of(counter)}.{label}"
        node.outputs[0].type, node.outputs[0].shape = BOOL, ir.Shape([])
        graph.append(node)
    graph.outputs.append(both.outputs[0])
    return graph


def _number(
    graph: ir.Graph, name: str, array: np.ndarray[tuple[()], np.dtype[np.int64]]
) -> ir.Value:
    value = ir.Value(
        name=name, type=COUNT, shape=ir.Shape(array.shape), const_value=ir.tensor(array, name=name)
    )
    graph.register_initializer(value)
    return value


KINDS = (
    Kind(name="if", build=_build_if, roots=("If",), match=_match_if),
    Kind(name="while", build=_build_while, roots=("Loop",), match=_match_while),
)
