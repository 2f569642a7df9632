"""The contract of passes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.architectures.tiny import tiny
from w2e_bridge.errors import DefectError, UnsupportedError
from w2e_bridge.ir.model import Model, Remark
from w2e_bridge.passes.attach_graph import AttachGraph
from w2e_bridge.passes.base import Pass, PassResult, Sequence, owned

EMPTY = Model(tensors={})


class Numerics(Pass):
    """Appends a word to `numerics`."""

    def __init__(self, word: str) -> None:
        self.word = word

    def run(self, model: Model) -> PassResult:
        numerics = f"{model.numerics} {self.word}"
        remark = Remark(name=self.word, reason="seen")
        return PassResult(model=replace(model, numerics=numerics), remarks=(remark,))


class Fails(Pass):
    """Raises what it is given."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def run(self, model: Model) -> PassResult:
        raise self.error


class Picky(Numerics):
    """Has conditions."""

    def requires(self, model: Model) -> str | None:
        return None if "a" in model.numerics else "wants an a"

    def ensures(self, model: Model) -> str | None:
        return "made a b" if "b" in model.numerics else None


def test_sequence_goes_in_order_and_collects() -> None:
    result = Sequence([Numerics("x"), Sequence([Numerics("y"), Numerics("z")])])(EMPTY)
    assert result.model.numerics == "float x y z"
    assert [remark.name for remark in result.remarks] == ["x", "y", "z"]
    assert EMPTY.numerics == "float"


def test_empty_sequence_gives_the_model_itself() -> None:
    assert Sequence([])(EMPTY).model is EMPTY


def test_a_failure_names_the_pass() -> None:
    with pytest.raises(DefectError, match=r"^internal defect.*: pass Fails: KeyError: 'k'$"):
        Sequence([Numerics("x"), Fails(KeyError("k"))])(EMPTY)


def test_a_line_for_the_user_stays_as_it_is() -> None:
    error = UnsupportedError("f.gguf: no")
    with pytest.raises(UnsupportedError) as raised:
        Sequence([Fails(error)])(EMPTY)
    assert raised.value is error


def test_conditions() -> None:
    assert Picky("c")(replace(EMPTY, numerics="a")).model.numerics == "a c"
    with pytest.raises(DefectError, match="pass Picky: wants an a"):
        Picky("c")(replace(EMPTY, numerics="x"))
    with pytest.raises(DefectError, match="pass Picky: made a b"):
        Picky("b")(replace(EMPTY, numerics="a"))


class Drops(Pass):
    """Takes the last node out, of a copy or not."""

    def __init__(self, *, copy: bool) -> None:
        self.copy = copy

    def run(self, model: Model) -> PassResult:
        work = owned(model) if self.copy else model
        assert work.graph is not None
        graph = work.graph.graph
        del graph.outputs[:]
        graph.remove(graph.node(-1))
        return PassResult(model=work)


def test_a_graph_is_edited_on_a_copy() -> None:
    model = AttachGraph()(tiny("llama").model()).model
    assert model.graph is not None
    before = [node.name for node in model.graph.graph]
    result = Drops(copy=True)(model)
    assert result.model.graph is not None
    assert len(result.model.graph.graph) == len(before) - 1
    assert [node.name for node in model.graph.graph] == before
    assert len(model.graph.graph.outputs) == 5
    assert result.model.graph.functions.keys() == model.graph.functions.keys()
    with pytest.raises(DefectError, match="pass Drops: it changed the graph that it was given"):
        Drops(copy=False)(model)


def test_owned_without_a_graph_is_the_model_itself() -> None:
    assert owned(EMPTY) is EMPTY
