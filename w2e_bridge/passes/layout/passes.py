"""The two passes that decide where the channels stand."""

from __future__ import annotations

from dataclasses import replace

from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import name_of
from w2e_bridge.graph.serialize import in_order
from w2e_bridge.ir.model import Model
from w2e_bridge.passes.base import Pass, PassResult, owned
from w2e_bridge.passes.layout.plan import Plan
from w2e_bridge.passes.layout.rewrite import Rewriter
from w2e_bridge.passes.layout.scopes import Scope
from w2e_bridge.passes.layout.shapes import infer_shapes
from w2e_bridge.passes.layout.values import Values


class ChannelsLast(Pass):
    """The channels-last normal form: operators of images stand between Transposes, all else has channels last.

    before: a graph in any layout.
    after: every operator that is bound to channels first reads Transpose(x) and is read through
        Transpose(y), x and y channels last; weights of convolutions are kept as channels-last operators
        have them; everything else works on channels-last values as far as that saves Transposes. Public
        inputs and outputs are as they were.
    why exact: a Transpose moves numbers. What is computed on moved numbers is the same sum, in an
        order that no operator promises.
    """

    def run(self, model: Model) -> PassResult:
        """Rewrite every graph of the model."""
        return _rewritten(model, last=True)


class ChannelsFirst(Pass):
    """Channels first, with as few Transposes as there can be: the inverse of `ChannelsLast`.

    before: a graph in any layout; usually in channels-last normal form.
    after: operators of images read and are read by channels-first values; Transposes stay at public
        inputs and outputs and where an operator needs another order of axes. Constants are permuted.
    why exact: as of `ChannelsLast`.
    """

    def run(self, model: Model) -> PassResult:
        """Rewrite every graph of the model."""
        return _rewritten(model, last=False)


def _rewritten(model: Model, *, last: bool) -> PassResult:
    work = owned(model)
    if work.graph is None:
        return PassResult(model=model)
    editor = Editor(model=work.graph, tensors=dict(model.tensors))
    activations = dict(model.activations)
    infer_shapes(work.graph, editor.tensors)
    before = _names(editor)
    opset = work.graph.opset_imports.get("", 0)
    for graph in list(work.graph.graphs()):
        scope = Scope(graph=graph, editor=editor, activations=activations, opset=opset, last=last)
        Rewriter(scope=scope, plan=Plan(scope=scope), values=Values(scope=scope)).run()
    work.graph.graph.sort()  # its bodies too
    gone = before - _names(editor)
    kept = {name: found for name, found in activations.items() if name not in gone}
    tensors = in_order(work.graph, editor.tensors)
    return PassResult(model=replace(work, tensors=tensors, activations=kept))


def _names(editor: Editor) -> set[str]:
    values = [
        value
        for graph in editor.model.graphs()
        for value in (*graph.inputs, *graph.initializers.values())
    ]
    values += [output for node in editor.nodes() for output in node.outputs]
    return {name_of(value) for value in values}
