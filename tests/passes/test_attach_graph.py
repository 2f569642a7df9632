"""Models that get a graph, and those that can't."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.architectures.tiny import tiny
from w2e_bridge.errors import UnsupportedError
from w2e_bridge.formats.spec import Request
from w2e_bridge.graph.weights import weights_of
from w2e_bridge.ir.model import Model, Origin, Remark
from w2e_bridge.negotiation.profile import Profile
from w2e_bridge.passes.attach_graph import AttachGraph
from w2e_bridge.passes.pipelines import PIPELINES, prepare

ORIGIN = Origin(format="gguf", path="dir/f.gguf")
REQUEST = Request(profile="p")


def refusal(model: Model) -> str:
    with pytest.raises(UnsupportedError) as raised:
        AttachGraph()(model)
    assert raised.value.exit_code == 2
    return str(raised.value)


def test_graph_and_tensors_fit() -> None:
    model = tiny("gemma2").model()
    found = AttachGraph()(model).model
    assert found.graph is not None
    assert {name for name, _ in weights_of(found.graph.graph)} == found.tensors.keys()
    assert found.tensors.keys() == model.tensors.keys() | {"rope.cos", "rope.sin"}
    assert [t.order for t in found.tensors.values()] == list(range(len(found.tensors)))
    assert model.graph is None
    for name, tensor in model.tensors.items():
        assert found.tensors[name].storage is tensor.storage
        assert found.tensors[name].encoding == tensor.encoding
    assert (found.architecture, found.origin) == (model.architecture, model.origin)


def test_a_graph_that_is_there_stays() -> None:
    model = AttachGraph()(tiny("llama").model()).model
    assert AttachGraph()(model).model is model


@pytest.mark.parametrize("kind", ["vocabulary", "imatrix", "adapter", "projector"])
def test_no_network(kind: str) -> None:
    model = replace(tiny("llama").model(), kind=kind, origin=ORIGIN)
    assert refusal(model) == f"dir/f.gguf: this is of kind '{kind}', no network to run"


def test_no_hyper_parameters() -> None:
    line = refusal(Model(tensors={}, origin=ORIGIN))
    assert line == (
        "dir/f.gguf: carries neither a graph nor the hyper-parameters to build one from"
    )


def test_errors_name_the_file() -> None:
    model = tiny("llama").model({"layers.0.sinks.weight": np.ones(4)})
    assert refusal(replace(model, origin=ORIGIN)).startswith("dir/f.gguf 't.layers.0.sinks.weight'")
    assert refusal(replace(model, origin=None)).startswith("model 't.layers.0.sinks.weight'")
    assert model.architecture is not None
    unknown = replace(model.architecture, family="gpt9")
    line = refusal(replace(model, architecture=unknown, origin=ORIGIN))
    assert line.startswith("dir/f.gguf: no graph is known of architecture 'gpt9'")


def test_prepare_keeps_remarks() -> None:
    first = Remark(name="key", reason="read and left")
    model = tiny("llama").model({"rope_factors.weight": np.ones(4)})
    model = replace(model, remarks=(first,))
    found = prepare(model, Profile(name="p", title="P", forms=()), REQUEST).model
    assert found.graph is not None
    assert [remark.name for remark in found.remarks] == ["key", "t.rope_factors.weight"]


def test_prepare_for_a_target_that_stores_tensors_changes_nothing() -> None:
    model = tiny("llama").model()
    found = prepare(model, Profile(name="p", title="P", forms=(), needs_graph=False), REQUEST).model
    assert found.graph is None
    assert found.tensors is model.tensors


def test_every_pass_says_why_it_is_exact() -> None:
    for make in PIPELINES.values():
        steps = make()
        for step in steps:
            text = type(step).__doc__ or ""
            assert all(word in text for word in ("before:", "after:", "why exact:"))
