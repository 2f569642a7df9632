"""The pass that rewrites what exporters write into what channels-last kernels are."""

from __future__ import annotations

from dataclasses import replace

import onnx_ir as ir

from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import STANDARD, name_of
from w2e_bridge.graph.serialize import in_order
from w2e_bridge.ir.model import Model
from w2e_bridge.passes.base import Pass, PassResult, owned
from w2e_bridge.passes.layout.shapes import infer_shapes
from w2e_bridge.passes.legalize.constraints import LITERT
from w2e_bridge.passes.legalize.folding import fold
from w2e_bridge.passes.legalize.inlining import inline
from w2e_bridge.passes.legalize.opsets import modernize
from w2e_bridge.passes.legalize.place import Place, Work
from w2e_bridge.passes.legalize.rules import rules

ROUNDS = 12
"""A rule may make nodes that another rewrites; there are no longer chains."""


class Legalize(Pass):
    """Standard operators in the forms that `w2e_bridge.kernels` recognises.

    before: a canonical graph as a file says it: paddings of any kind, one-dimensional convolutions,
        normalizations, recurrent layers, arithmetic of shapes.
    after: the same computation with fewer kinds of operators. What no rule covers stays as it is.
    why exact: each rule is an identity of real numbers and says why; where it rounds in another order
        (a batch normalization folded into weights), the constant that it makes is graded.
    """

    def __init__(self, *, folds: bool = False, only: frozenset[str] = frozenset()) -> None:
        """Choose what may be lost.

        Args:
            folds: whether batch normalizations may go into the weights before them (graded ROUNDING);
                without, they are a product and a sum of their own.
            only: the operators that are rewritten, and calls of functions; empty = all that have rules.
        """
        self.folds = folds
        self.only = only

    def run(self, model: Model) -> PassResult:
        """Apply all rules until none applies."""
        work = owned(model)
        if work.graph is None or model.numerics in LITERT:
            return PassResult(model=model)
        made = Work(
            editor=Editor(model=work.graph, tensors=dict(model.tensors)),
            activations=dict(model.activations),
            opset=work.graph.opset_imports.get("", 0),
            folds=self.folds,
        )
        before, read = _names(made.editor), _read(made.editor)
        infer_shapes(work.graph, made.editor.tensors)
        modernize(made)
        for _ in range(ROUNDS):
            infer_shapes(work.graph, made.editor.tensors)
            if not _round(made, self.only):
                break
        for value in read:
            made.forget(value)
        made.finish()
        work.graph.graph.sort()
        gone = before - _names(made.editor)
        kept = {name: q for name, q in made.activations.items() if name not in gone}
        tensors = in_order(work.graph, made.editor.tensors)
        after = replace(work, tensors=tensors, activations=kept)
        return PassResult(model=after, losses=tuple(made.losses))


def _round(work: Work, only: frozenset[str]) -> bool:
    """Look at every node once; whether anything changed."""
    changed = inline(work)
    changed |= not only and fold(work)
    table = {op: own for op, own in rules().items() if not only or op in only}
    for graph in list(work.editor.model.graphs()):
        for node in list(graph):
            if node.graph is None or node.domain not in (*STANDARD, "com.microsoft"):
                continue
            place = Place(node=node, work=work)
            changed |= any(rule(place) for rule in table.get(_key(node), ()))
    return changed


def _key(node: ir.Node) -> str:
    return node.op_type if node.domain in STANDARD else f"{node.domain}::{node.op_type}"


def _names(editor: Editor) -> set[str]:
    values = [v for g in editor.model.graphs() for v in (*g.inputs, *g.initializers.values())]
    values += [output for node in editor.nodes() for output in node.outputs]
    return {name_of(value) for value in values}


def _read(editor: Editor) -> list[ir.Value]:
    """The constants that something reads."""
    held = [value for graph in editor.model.graphs() for value in graph.initializers.values()]
    return [value for value in held if value.uses()]
