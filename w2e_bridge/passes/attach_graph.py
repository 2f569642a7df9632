"""Gives a model that came without a graph the graph of its architecture."""

from __future__ import annotations

from dataclasses import replace

from w2e_bridge.architectures.base import build
from w2e_bridge.architectures.config import refusal
from w2e_bridge.ir.model import Model
from w2e_bridge.passes.base import Pass, PassResult


class AttachGraph(Pass):
    """The graph of a network whose file carries none.

    before: tensors, hyper-parameters and a role for each tensor; or a graph, then nothing is done.
    after: a graph, and exactly the tensors that it refers to, in execution order: those of the source
        and the rotary tables. Tensors that went into tables are named in the remarks.
    why exact: no tensor of the source is written anew; the graph computes with their values in float32.
    """

    def run(self, model: Model) -> PassResult:
        """Build the graph.

        Raises:
            UnsupportedError: it holds no network, says too little of it, or what it says does not fit.
        """
        origin = model.origin.path if model.origin else "model"
        if model.kind != "model":
            raise refusal(origin, f"this is of kind '{model.kind}', no network to run")
        if model.graph is not None:
            return PassResult(model=model)
        if model.architecture is None:
            raise refusal(
                origin, "carries neither a graph nor the hyper-parameters to build one from"
            )
        built = build(model.architecture, model.tensors, origin)
        return PassResult(
            model=replace(model, graph=built.graph, tensors=built.tensors), remarks=built.remarks
        )

    def ensures(self, model: Model) -> str | None:
        """Stubs and tensors are the same, one for one."""
        from w2e_bridge.graph.weights import weights_of

        assert model.graph is not None
        stubs = {name for name, _ in weights_of(model.graph.graph)}
        lost = sorted(stubs - model.tensors.keys())
        return f"no tensor for {lost[0]}" if lost else None
