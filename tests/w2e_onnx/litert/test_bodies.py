"""Codes that go into bodies of If and Loop and come out of them, there and back; LiteRT is the judge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.w2e_onnx.litert.steps import Runs, again, litert, onnx_of, opened, run
from tests.w2e_tflite.maker import Graph, Op, Spec, build_graphs, const

SHAPE = (2, 3)
TYPES = ("int8", "uint8", "int16")


def codes(name: str, dtype: str, scale: float = 0.05) -> Spec:
    """A quantized tensor."""
    zero = {"int8": -7, "uint8": 121, "int16": 0}[dtype]
    return Spec(name, SHAPE, dtype, scale=scale, zero=zero)


def whole(name: str) -> Spec:
    """A number."""
    return Spec(name, (), "int32")


def flag(name: str) -> Spec:
    """A condition."""
    return Spec(name, (), "bool")


def some(dtype: str, seed: int) -> NDArray[Any]:
    """Random codes."""
    info = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(info.min, info.max, SHAPE, dtype, endpoint=True)


def same(data: bytes, runs: Runs, folder: Path) -> None:
    """ONNX computes what LiteRT computes, and so does the file made of the ONNX alone."""
    check(data, runs, folder, [litert(data, runs, reference=kernels) for kernels in (False, True)])


def check(data: bytes, runs: Runs, folder: Path, want: Sequence[list[list[NDArray[Any]]]]) -> None:
    """Likewise, of what default and reference kernels should compute."""
    model = opened(data, folder)
    for reference in (False, True):
        made = onnx_of(model, reference=reference)
        for optimize in (True, False):
            _equal(run(made, runs, optimize=optimize), want[reference])
        _equal(litert(again(made, folder), runs), want[False])


def _equal(got: list[list[NDArray[Any]]], want: list[list[NDArray[Any]]]) -> None:
    for g, w in zip(got, want, strict=True):
        for a, b in zip(g, w, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", TYPES)
def test_branches(tmp_path: Path, dtype: str) -> None:
    """One branch computes, the other hands its operand on."""
    c, x, y = flag("c"), codes("x", dtype), codes("y", dtype)
    main = Graph(
        [Op("IF", [c, x], [y], {"then_subgraph_index": 1, "else_subgraph_index": 2})], [y], [c, x]
    )
    a, b = codes("a", dtype), codes("b", dtype)
    then = Graph([Op("ADD", [a, a], [b])], [b], [a], name="more")
    z = codes("z", dtype)
    data = build_graphs([main, then, Graph([], [z], [z], name="same")])
    same(data, [[np.asarray(c), some(dtype, n)] for n, c in enumerate((True, False))], tmp_path)


@pytest.mark.parametrize("dtype", TYPES)
def test_a_branch_that_is_a_constant(tmp_path: Path, dtype: str) -> None:
    c, x, y, z = flag("c"), codes("x", dtype), codes("y", dtype), codes("z", dtype)
    said = {"then_subgraph_index": 1, "else_subgraph_index": 2}
    main = Graph([Op("IF", [c, x], [y], said), Op("ADD", [y, x], [z])], [z], [c, x])
    a = codes("a", dtype)
    fixed = Spec(
        "fixed", SHAPE, dtype, scale=y.scale, zero=y.zero, data=[[1, 2, 3], [100, 50, 127]]
    )
    b = codes("b", dtype)
    graphs = [main, Graph([], [fixed], [a], name="fix"), Graph([], [b], [b], name="same")]
    data = build_graphs(graphs)
    same(data, [[np.asarray(c), some(dtype, n)] for n, c in enumerate((True, False))], tmp_path)


def loop(states: Sequence[Spec], body: Graph, outputs: Sequence[int]) -> bytes:
    """While the count, the first state, is below 3: the body."""
    made = [Spec(f"y_{s.name}", s.shape, s.dtype, s.scale, s.zero) for s in states]
    options = {"cond_subgraph_index": 1, "body_subgraph_index": 2}
    main = Graph([Op("WHILE", states, made, options)], [made[i] for i in outputs], states)
    given = [Spec(f"c_{s.name}", s.shape, s.dtype, s.scale, s.zero) for s in states]
    go = flag("go")
    test = Graph([Op("LESS", [given[0], const("most", 3, "int32")], [go])], [go], given, "test")
    return build_graphs([main, test, body])


@pytest.mark.parametrize("dtype", TYPES)
def test_a_loop(tmp_path: Path, dtype: str) -> None:
    """The sum of a value and one that every round only hands on."""
    body_in = [whole("i"), codes("a", dtype), codes("b", dtype, 0.03)]
    after, more = whole("j"), codes("c", dtype)
    ops = [
        Op("ADD", [body_in[0], const("one", 1, "int32")], [after]),
        Op("ADD", body_in[1:], [more]),
    ]
    body = Graph(ops, [after, more, body_in[2]], body_in, "step")
    data = loop([whole("n"), codes("x", dtype), codes("k", dtype, 0.03)], body, [0, 1, 2])
    runs = [[np.asarray(n, np.int32), some(dtype, n), some(dtype, n + 9) // 8] for n in (0, 1, 5)]
    same(data, runs, tmp_path)


@pytest.mark.parametrize("dtype", TYPES)
def test_a_loop_that_only_swaps(tmp_path: Path, dtype: str) -> None:
    """Codes that no kernel touches: what they mean is said by the kernel behind the Loop."""
    given = [whole("i"), codes("a", dtype), codes("b", dtype)]
    after = whole("j")
    ops = [Op("ADD", [given[0], const("one", 1, "int32")], [after])]
    body = Graph(ops, [after, given[2], given[1]], given, "swap")
    data = loop([whole("n"), codes("x", dtype), codes("k", dtype)], body, [1, 2])
    runs = [[np.asarray(n, np.int32), some(dtype, n), some(dtype, n + 9)] for n in (0, 1, 5)]
    want = [[b, a] if n == 0 else [a, b] for n, a, b in runs]
    # LiteRT loses one of the two in a body that is no more than this; what is written copies them.
    check(data, runs, tmp_path, [want, want])


def test_branches_in_a_loop(tmp_path: Path) -> None:
    """Each round adds or takes away, as a comparison of codes says."""
    given = [whole("i"), codes("a", "int8"), codes("b", "int8", 0.02)]
    after, more, which = whole("j"), codes("c", "int8"), flag("which")
    said = {"then_subgraph_index": 3, "else_subgraph_index": 4}
    ops = [
        Op("ADD", [given[0], const("one", 1, "int32")], [after]),
        Op("LESS", [given[0], const("two", 2, "int32")], [which]),
        Op("IF", [which, given[1], given[2]], [more], said),
    ]
    body = Graph(ops, [after, more, given[2]], given, "step")
    branches = []
    for kind in ("ADD", "SUB"):
        a, b, c = codes("p", "int8"), codes("q", "int8", 0.02), codes("r", "int8")
        branches.append(Graph([Op(kind, [a, b], [c])], [c], [a, b], kind.lower()))
    made = [whole("ny"), codes("xy", "int8"), codes("ky", "int8", 0.02)]
    states = [whole("n"), codes("x", "int8"), codes("k", "int8", 0.02)]
    options = {"cond_subgraph_index": 1, "body_subgraph_index": 2}
    main = Graph([Op("WHILE", states, made, options)], made[:2], states)
    tested = [whole("t0"), codes("t1", "int8"), codes("t2", "int8", 0.02)]
    go = flag("go")
    test = Graph([Op("LESS", [tested[0], const("most", 4, "int32")], [go])], [go], tested, "test")
    data = build_graphs([main, test, body, *branches])
    runs = [[np.asarray(n, np.int32), some("int8", n) // 2, some("int8", n + 9)] for n in (0, 2, 3)]
    same(data, runs, tmp_path)


def test_a_loop_of_reals_that_rounds(tmp_path: Path) -> None:
    """Real numbers are carried; each round makes codes of them, and real numbers of its sum."""
    given, after = [whole("i"), Spec("a", SHAPE)], whole("j")
    rounded, more, real = codes("q", "int8", 0.02), codes("c", "int8", 0.05), Spec("r", SHAPE)
    ops = [
        Op("ADD", [given[0], const("one", 1, "int32")], [after]),
        Op("QUANTIZE", [given[1]], [rounded]),
        Op("ADD", [rounded, rounded], [more]),
        Op("DEQUANTIZE", [more], [real]),
    ]
    data = loop([whole("n"), Spec("x", SHAPE)], Graph(ops, [after, real], given, "step"), [1])
    random = np.random.default_rng(0)
    runs = [
        [np.asarray(n, np.int32), random.normal(size=SHAPE).astype(np.float32)] for n in (0, 1, 5)
    ]
    same(data, runs, tmp_path)
