"""What models keep from run to run, in LiteRT before and after."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import w2e_bridge.api as api
from tests.w2e_tflite.maker import Graph, Op, Spec, build, build_graphs, const, litert
from tests.w2e_tflite.test_read import graph_of
from tests.w2e_tflite.through import lifted, same_in_litert, through, written
from w2e_bridge.errors import FormatError, UnsupportedError
from w2e_bridge.loss import Grade

FIXTURES = Path(__file__).parents[2] / "fixtures" / "tflite"
NAME = {"container": "", "shared_name": "memory"}
F = (1, 2)


def begin(start: float) -> Graph:
    handle = Spec("g", (), "resource")
    constant = const("start", np.full(F, start, np.float32))
    ops = [Op("VAR_HANDLE", [], [handle], NAME), Op("ASSIGN_VARIABLE", [handle, constant], [])]
    return Graph(ops, [], inputs=[], name="begin")


def branching() -> bytes:
    """x < 0: the memory is what it was; else it gets x and is returned."""
    x, y, zero = Spec("x", F), Spec("y", F), const("zero", np.float32(0))
    handle, total, test = Spec("h", (), "resource"), Spec("sum", ()), Spec("test", (), "bool")
    axes = const("axes", [0, 1], "int32")
    options = {"then_subgraph_index": 2, "else_subgraph_index": 3}
    main = Graph(
        [
            Op("CALL_ONCE", [], [], {"init_subgraph_index": 1}),
            Op("VAR_HANDLE", [], [handle], NAME),
            Op("SUM", [x, axes], [total], {"keep_dims": False}),
            Op("LESS", [total, zero], [test]),
            Op("IF", [test, x, handle], [y], options),
        ],
        [y],
        inputs=[x],
    )
    x1, h1, held = Spec("x1", F), Spec("h1", (), "resource"), Spec("held1", F)
    keep = Graph([Op("READ_VARIABLE", [h1], [held])], [held], inputs=[x1, h1], name="keep")
    x2, h2, held2 = Spec("x2", F), Spec("h2", (), "resource"), Spec("held2", F)
    more = Spec("more", F)
    add = Graph(
        [
            Op("READ_VARIABLE", [h2], [held2]),
            Op("ADD", [held2, x2], [more]),
            Op("ASSIGN_VARIABLE", [h2, more], []),
        ],
        [more],
        inputs=[x2, h2],
        name="add",
    )
    return build_graphs([main, begin(1.0), keep, add])


def test_a_resource_in_a_loop(tmp_path: Path) -> None:
    """Three rounds, each of which doubles the memory."""
    x, y, handle = Spec("x", (), "int32"), Spec("y", (), "int32"), Spec("h", (), "resource")
    held, z = Spec("held", F), Spec("z", F)
    options = {"cond_subgraph_index": 2, "body_subgraph_index": 3}
    main = Graph(
        [
            Op("CALL_ONCE", [], [], {"init_subgraph_index": 1}),
            Op("VAR_HANDLE", [], [handle], NAME),
            Op("WHILE", [x, handle], [y, after := Spec("after", (), "resource")], options),
            Op("READ_VARIABLE", [after], [held]),
            Op("ABS", [held], [z]),
        ],
        [y, z],
        inputs=[x],
    )
    i1, h1, go = Spec("i1", (), "int32"), Spec("h1", (), "resource"), Spec("go", (), "bool")
    test = Graph([Op("LESS", [i1, const("most", 3, "int32")], [go])], [go], [i1, h1], name="test")
    i2, h2, i3 = Spec("i2", (), "int32"), Spec("h2", (), "resource"), Spec("i3", (), "int32")
    old, new = Spec("old", F), Spec("new", F)
    ops = [
        Op("READ_VARIABLE", [h2], [old]),
        Op("ADD", [old, old], [new]),
        Op("ASSIGN_VARIABLE", [h2, new], []),
        Op("ADD", [i2, const("one", 1, "int32")], [i3]),
    ]
    data = build_graphs([main, begin(1.0), test, Graph(ops, [i3, h2], [i2, h2], name="double")])
    back = through(data, tmp_path)
    runs = [[np.asarray(n, np.int32)] for n in (0, 2, 5, 1)]
    want, got = litert(data, *runs), litert(back, *runs)
    for w, g in zip(want, got, strict=True):
        np.testing.assert_array_equal(w[0], g[0])
        np.testing.assert_array_equal(w[1], g[1])
    assert [float(w[1][0, 0]) for w in want] == [8.0, 16.0, 16.0, 64.0]


def test_a_resource_in_branches(tmp_path: Path) -> None:
    data = branching()
    model = lifted(data, tmp_path)
    graph = graph_of(model)
    assert graph.inputs[0].name == "x"
    assert len(graph.inputs) == len(graph.outputs) == 2
    back = written(model, tmp_path / "out")
    runs = [[np.full(F, v, np.float32)] for v in (2.0, -1.0, 3.0, -5.0)]
    want, got = litert(data, *runs), litert(back, *runs)
    np.testing.assert_array_equal(np.ravel(want), np.ravel(got))
    assert np.ravel(want)[::2].tolist() == [3.0, 3.0, 6.0, 6.0]


def test_a_resource_that_is_assigned_before_it_is_read(tmp_path: Path) -> None:
    x, y, handle, held = Spec("x", F), Spec("y", F), Spec("h", (), "resource"), Spec("held", F)
    main = Graph(
        [
            Op("CALL_ONCE", [], [], {"init_subgraph_index": 1}),
            Op("VAR_HANDLE", [], [handle], NAME),
            Op("ASSIGN_VARIABLE", [handle, x], []),
            Op("READ_VARIABLE", [handle], [held]),
            Op("ABS", [held], [y]),
        ],
        [y],
    )
    data = build_graphs([main, begin(1.0)])
    same_in_litert(data, through(data, tmp_path))


def test_a_first_value_of_unlike_numbers(tmp_path: Path) -> None:
    x, y, handle, held = Spec("x", F), Spec("y", F), Spec("h", (), "resource"), Spec("held", F)
    main = Graph(
        [
            Op("CALL_ONCE", [], [], {"init_subgraph_index": 1}),
            Op("VAR_HANDLE", [], [handle], NAME),
            Op("READ_VARIABLE", [handle], [held]),
            Op("ADD", [x, held], [y]),
            Op("ASSIGN_VARIABLE", [handle, y], []),
        ],
        [y],
    )
    start, other = begin(0), Spec("g", (), "resource")
    numbers = const("start", np.asarray([[1.5, -2.5]], np.float32))
    ops = [Op("VAR_HANDLE", [], [other], NAME), Op("ASSIGN_VARIABLE", [other, numbers], [])]
    data = build_graphs([main, Graph(ops, start.outputs, inputs=[], name="begin")])
    model = lifted(data, tmp_path)
    assert model.metadata["w2e.state.held.initial"] == "[1.5, -2.5]"
    same_in_litert(data, written(model, tmp_path / "out"))


def test_a_resource_without_a_name(tmp_path: Path) -> None:
    x, held, y = Spec("x", (), "resource"), Spec("held", F), Spec("y", F)
    ops = [Op("READ_VARIABLE", [x], [held]), Op("ABS", [held], [y])]
    data = build_graphs([Graph(ops, [y], inputs=[])])
    with pytest.raises(FormatError, match="a resource that no VAR_HANDLE names"):
        lifted(data, tmp_path)


def test_a_first_value_that_is_computed(tmp_path: Path) -> None:
    handle, made = Spec("g", (), "resource"), Spec("made", F)
    x, y = Spec("x", F), Spec("y", F)
    ops = [
        Op("VAR_HANDLE", [], [handle], NAME),
        Op("ABS", [const("c", np.ones(F, np.float32))], [made]),
        Op("ASSIGN_VARIABLE", [handle, made], []),
    ]
    first = Op("CALL_ONCE", [], [], {"init_subgraph_index": 1})
    graphs = [Graph([first, Op("ABS", [x], [y])], [y]), Graph(ops, [], inputs=[], name="begin")]
    with pytest.raises(
        UnsupportedError, match=r"CALL_ONCE \(ABS while variables are set at first\)"
    ):
        lifted(build_graphs(graphs), tmp_path)


@pytest.mark.parametrize("quantized", [False, True])
def test_a_variable_tensor(quantized: bool, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    units, memory, inputs = 3, 4, 5
    if quantized:
        x = Spec("x", (1, inputs), "int8", 0.05, 3)
        feature = const("feature", random.integers(-127, 128, (units, inputs)), "int8", scale=0.02)
        time = const("time", random.integers(-9999, 9999, (units, memory)), "int16", scale=1e-4)
        bias = const("bias", random.integers(-99, 99, units), "int32", scale=1e-3 * 1e-4)
        state = Spec("state", (1, units * memory), "int16", 1e-3, variable=True)
        y = Spec("y", (1, units), "int8", 0.02, -7)
    else:
        x, y = Spec("x", (1, inputs)), Spec("y", (1, units))
        feature = const("feature", random.normal(size=(units, inputs)).astype(np.float32))
        time = const("time", random.normal(size=(units, memory)).astype(np.float32))
        bias = const("bias", random.normal(size=units).astype(np.float32))
        state = Spec("state", (1, units * memory), variable=True)
    options = {"rank": 1, "fused_activation_function": "RELU"}
    data = build([Op("SVDF", [x, feature, time, bias, state], [y], options, version=3)])
    try:
        model = lifted(data, tmp_path)
    except UnsupportedError as error:  # the kernel's own business
        pytest.skip(str(error))
    assert [v.name for v in graph_of(model).inputs] == ["x", "state"]
    assert [v.name for v in graph_of(model).outputs] == ["y", "state.next"]
    assert model.metadata["w2e.state.state.initial"] == "0"
    same_in_litert(data, written(model, tmp_path / "out"), steps=5)


def test_the_constant_from_which_a_state_begins_has_a_row() -> None:
    for target in ("onnx", "tflite", "w2e"):
        report = api.convert(FIXTURES / "leaky_int8.tflite", to=target, dry_run=True)
        rows = {row.name: row for row in report.tensors}
        assert rows["tfl.pseudo_qconst"].grade is Grade.EXACT
        assert "begins with" in rows["tfl.pseudo_qconst"].reason
