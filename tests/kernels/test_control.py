"""IF and WHILE as nodes and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.weights import DTYPES
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.codes import Integer
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.cover import cover
from w2e_bridge.kernels.operation import Constant, Operation
from w2e_bridge.kernels.scope import Scope
from w2e_bridge.kernels.table import build

FLOAT = (2,)


class Place:
    """A graph as a place for nodes; constants keep their numbers."""

    def __init__(self, graph: ir.Graph) -> None:
        self.graph, self.count = graph, 0

    def append(self, node: ir.Node) -> None:
        """Put a node."""
        self.graph.append(node)

    def constant(self, name: str, array: NDArray[Any]) -> ir.Value:
        """An initializer."""
        return number(self.graph, self.fresh(name), array)

    def fresh(self, name: str) -> str:
        """A name of its own."""
        self.count += 1
        return f"{name}.{self.count}"


def value(name: str, dtype: str = "float32", shape: tuple[int, ...] = FLOAT) -> ir.Value:
    """A value that nothing makes yet."""
    return ir.Value(name=name, type=ir.TensorType(DTYPES[dtype]), shape=ir.Shape(shape))


def number(graph: ir.Graph, name: str, array: Any) -> ir.Value:
    """A constant of a graph."""
    data = ir.tensor(np.asarray(array), name=name)
    made = ir.Value(name=name, type=ir.TensorType(data.dtype), shape=data.shape, const_value=data)  # type: ignore[arg-type]
    graph.register_initializer(made)
    return made


def new_graph(name: str, inputs: list[ir.Value]) -> ir.Graph:
    """A graph without nodes."""
    return ir.Graph(inputs, [], nodes=[], opset_imports={"": 21}, name=name)


def node(graph: ir.Graph, op: str, inputs: list[ir.Value], output: ir.Value) -> ir.Value:
    """Append a node."""
    graph.append(ir.node(op, inputs, outputs=[output]))
    return output


def counting_while() -> dict[str, ir.Graph]:
    """while i < n: i, x, n = i + 1, x * w, n"""
    c = new_graph("test", [value("ci", "int32", ()), value("cx"), value("cn", "int32", ())])
    c.outputs.append(node(c, "Less", [c.inputs[0], c.inputs[2]], value("less", "bool", ())))
    b = new_graph("step", [value("bi", "int32", ()), value("bx"), value("bn", "int32", ())])
    following = node(
        b, "Add", [b.inputs[0], number(b, "one", np.int32(1))], value("following", "int32", ())
    )
    weight = number(b, "w", np.asarray([2.0, -3.0], np.float32))
    grown = node(b, "Mul", [b.inputs[1], weight], value("grown"))
    b.outputs.extend([following, grown, b.inputs[2]])
    return {"cond": c, "body": b}


def built(operation: Operation, inputs: list[ir.Value]) -> tuple[ir.Graph, dict[str, Any]]:
    """The graph of an operation."""
    graph, values = new_graph("main", inputs), dict[str, Any]()
    build(operation, Builder(place=Place(graph), tensors={}, values=values))
    graph.outputs.extend(operation.outputs)
    return graph, values


def run(graph: ir.Graph, feeds: Mapping[str, Any]) -> list[Any]:
    """What ONNX Runtime computes."""
    model = ir.serde.serialize_model(ir.Model(graph.clone(), ir_version=10))
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    outputs: list[Any] = session.run(None, dict(feeds))
    return outputs


def the_operation(graph: ir.Graph) -> Operation:
    """The one operation that a graph is read as."""
    (step,) = cover(graph, Scope(tensors={}, values={}))
    assert isinstance(step, Operation)
    return step


def again(operation: Operation, graph: ir.Graph) -> ir.Graph:
    """The graph built again from what it was read as."""
    inputs = [ir.Value(name=v.name, type=v.type, shape=v.shape) for v in graph.inputs]
    mapping: dict[Any, Any] = dict(zip(graph.inputs, inputs, strict=True))
    mapping |= {
        v: Constant(array=v.const_value.numpy(), name="number")
        for v in graph.initializers.values()
        if v.const_value is not None
    }
    outputs = tuple(ir.Value(name=v.name, type=v.type, shape=v.shape) for v in operation.outputs)
    operands = tuple(mapping.get(v, v) for v in operation.inputs)
    copy = Operation(kind=operation.kind, inputs=operands, outputs=outputs, graphs=operation.graphs)
    return built(copy, inputs)[0]


def test_while_is_a_loop_and_a_while_again() -> None:
    inputs = [value("x"), value("n", "int32", ())]
    start = Constant(array=np.asarray(0, np.int32), name="zero")
    outputs = (value("yi", "int32", ()), value("y"), value("yn", "int32", ()))
    operation = Operation(
        kind="while", inputs=(start, *inputs), outputs=outputs, graphs=counting_while()
    )
    graph, _ = built(operation, inputs)
    feeds = {"x": np.asarray([1, 1], np.float32), "n": np.asarray(3, np.int32)}
    for times in (0, 1, 3):
        i, y, n = run(graph, feeds | {"n": np.asarray(times, np.int32)})
        assert (i, n) == (times, times)
        assert np.array_equal(y, [2.0**times, (-3.0) ** times])

    back = the_operation(graph)
    assert back.kind == "while"
    assert [v.name for v in back.inputs if isinstance(v, ir.Value)][1:] == ["x", "n"]
    assert list(back.outputs) == list(outputs)
    assert {role: len(list(g)) for role, g in back.graphs.items()} == {"cond": 1, "body": 2}
    body = back.graphs["body"]
    assert body.outputs[2] is body.inputs[2]
    assert [v.name for v in body.initializers.values()] == ["one", "w"]
    twice = again(back, graph)
    assert [list(r) if r.ndim else r for r in run(twice, feeds)] == [3, [8.0, -27.0], 3]
    assert {role: len(list(g)) for role, g in the_operation(twice).graphs.items()} == {
        "cond": 1,
        "body": 2,
    }


def loop_of(text: str) -> ir.Graph:
    """The graph of a model in ONNX's text form."""
    model = ir.serde.deserialize_model(onnx.parser.parse_model(text))
    return model.graph


HEAD = '<ir_version: 10, opset_import: ["": 21]>\n'

COUNTED = (
    HEAD
    + """
main (float[2] x, int64 m, float[2] k) => (float[2] y) {
  one = Constant <value = float {1.0}> ()
  y = Loop (m, , x) <body = step (int64 i, bool go, float[2] bx) => (bool on, float[2] by) {
    f = Cast <to = 1> (i)
    s = Add (bx, f)
    by = Mul (s, k)
    total = ReduceSum <keepdims = 0> (by)
    limit = Constant <value = float {100.0}> ()
    on = Less (total, limit)
  }>
}"""
)


@pytest.mark.parametrize(("rounds", "k"), [(0, 1.0), (3, 1.5), (9, 3.0), (9, 0.5)])
def test_a_loop_that_counts(rounds: int, k: float) -> None:
    graph = loop_of(COUNTED)
    feeds = {
        "x": np.asarray([1, -2], np.float32),
        "m": np.asarray(rounds, np.int64),
        "k": np.full(2, k, np.float32),
    }
    want = run(graph, feeds)
    steps = [s for s in cover(graph, Scope(tensors={}, values={})) if isinstance(s, Operation)]
    (back,) = (s for s in steps if s.kind == "while")
    assert len(back.inputs) == len(back.outputs) == len(back.graphs["body"].inputs)
    twice = again(back, graph)
    got = run(twice, feeds)[[v.name for v in twice.outputs].index("y")]
    assert np.array_equal(got, want[0])


BRANCHES = (
    HEAD
    + """
main (bool c, float[2] x, float[2] z) => (float[2] y, float[2] w) {
  y, w = If (c) <then_branch = yes () => (float[2] a, float[2] b) {
    a = Identity (x)
    b = Add (x, z)
  }, else_branch = no () => (float[2] d, float[2] e) {
    d = Neg (z)
    e = If (c) <then_branch = yes2 () => (float[2] f) { f = Identity (d) },
                else_branch = no2 () => (float[2] g) { g = Mul (d, x) }>
  }>
}"""
)


@pytest.mark.parametrize("condition", [True, False])
def test_branches_get_their_inputs_and_lose_them(condition: bool) -> None:
    graph = loop_of(BRANCHES)
    feeds = {
        "c": np.asarray(condition),
        "x": np.asarray([1, -2], np.float32),
        "z": np.asarray([5, 7], np.float32),
    }
    want = run(graph, feeds)
    back = the_operation(graph)
    assert back.kind == "if"
    assert [v.name for v in back.inputs if isinstance(v, ir.Value)] == ["c", "x", "z", "c"]
    then = back.graphs["then"]
    assert then.outputs[0] is then.inputs[0]
    got = run(again(back, graph), feeds)
    assert all(np.array_equal(a, b) for a, b in zip(got, want, strict=True))


def test_codes_with_another_meaning_are_refused() -> None:
    x, y, condition = value("x"), value("y"), value("c", "bool", ())
    graphs = {}
    for role in ("then", "else"):
        graph = new_graph(role, [value(f"{role}.x")])
        graph.outputs.append(node(graph, "Neg", [graph.inputs[0]], value(f"{role}.y")))
        graphs[role] = graph
    operation = Operation(kind="if", inputs=(condition, x), outputs=(y,), graphs=graphs)
    scale = np.asarray(0.5, np.float32)
    values = {
        "x": ActivationQuantization(codes=Integer(bits=8, signed=True), scale=scale),
        "then.x": ActivationQuantization(codes=Integer(bits=8, signed=True), scale=scale * 2),
    }
    builder = Builder(place=Place(new_graph("main", [x, condition])), tensors={}, values=values)
    with pytest.raises(UnsupportedError, match="unlike scales"):
        build(operation, builder)
