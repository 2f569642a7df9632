"""Nodes that read block-quantized matrices back to plain operators over tensors with an encoding.

One row of `KINDS` for each kind of node. Operators and layouts: microsoft/onnxruntime
docs/ContribOperators.md, MatMulNBits and GatherBlockQuantized. Functions of the domain `w2e.ort` are ours
(`lowering.functions`) and are known by name and body.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache

import onnx_ir as ir

from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import Unrecognised, given, integer, name_of, needed, only_output
from w2e_bridge.ir.tensor import Tensor
from w2e_onnx.lowering.functions import DOMAIN, MICROSOFT, function
from w2e_onnx.recognise_arrays import Arrays, described
from w2e_onnx.recognise_names import Manifest, base_name, sliced


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of node that reads a block-quantized matrix.

    Attributes:
        planes: inputs (codes, scale, zero point) of each part of a code, high bits first.
        data: input of what is multiplied, or of the row numbers.
        gather: whether rows are looked up.
        minimums: input of what is added to every weight of a block, or None.
        bias: input of what is added to the product, or None.
        unknown: inputs that change the meaning in ways not known here.
    """

    planes: tuple[tuple[int, int, int], ...]
    data: int
    gather: bool = False
    minimums: int | None = None
    bias: int | None = None
    unknown: tuple[int, ...] = ()


KINDS: Mapping[tuple[str, str], Kind] = {
    (MICROSOFT, "MatMulNBits"): Kind(planes=((1, 2, 3),), data=0, bias=5, unknown=(4,)),
    (DOMAIN, "MatMulMinimums"): Kind(planes=((1, 2, 3),), data=0, minimums=4),
    (DOMAIN, "MatMulHalves"): Kind(planes=((1, 2, 3), (4, 5, 6)), data=0),
    (DOMAIN, "MatMulHalvesMinimums"): Kind(planes=((1, 2, 3), (4, 5, 6)), data=0, minimums=7),
    (MICROSOFT, "GatherBlockQuantized"): Kind(planes=((0, 2, 3),), data=1, gather=True),
    (DOMAIN, "GatherMinimums"): Kind(planes=((0, 1, 2),), minimums=3, data=4, gather=True),
    (DOMAIN, "GatherHalves"): Kind(planes=((0, 1, 2), (3, 4, 5)), data=6, gather=True),
    (DOMAIN, "GatherHalvesMinimums"): Kind(
        planes=((0, 1, 2), (3, 4, 5)), minimums=6, data=7, gather=True
    ),
}


@dataclass(slots=True, kw_only=True)
class Recogniser:
    """Rewrites the nodes of one model.

    Attributes:
        editor: the model.
        manifest: which rows of which arrays are which tensor of the source.
        path: of the file, for messages.
        placed: base name to the matrix and the stubs of its rows, so that a tied weight stays one.
    """

    editor: Editor
    manifest: Manifest
    path: str
    placed: dict[str, tuple[Tensor, list[ir.Value]]] = field(default_factory=dict)

    def run(self) -> None:
        """Rewrite every node of a known kind."""
        for node in self.editor.nodes():
            kind = KINDS.get((node.domain, node.op_type))
            if kind is None:
                continue
            try:
                self.rewrite(node, kind)
            except Unrecognised:
                continue

    def rewrite(self, node: ir.Node, kind: Kind) -> None:
        """Put plain operators in the place of a node.

        before: MatMulNBits(x, codes, scale, zero point), or a kin of it.
        after:  MatMul(x, Transpose(W)), or Gather(W, ids); where the manifest says that W is several
            tensors, the products of each, concatenated.
        why exact: W decodes to what the node multiplies with.

        Raises:
            Unrecognised: the node reads no constants, or in a way not known here.
        """
        if node.domain == DOMAIN and not self.is_ours(node):
            raise Unrecognised("a function of the same name with another body")
        if any(given(node, index) is not None for index in kind.unknown):
            raise Unrecognised("inputs of a meaning not known here")
        if integer(node, "weight_prepacked", 0):
            raise Unrecognised("weights in a layout of one device")
        graph, data, output = node.graph, needed(node, kind.data), only_output(node)
        matrix = described(node, kind.planes, kind.minimums, self.arrays())
        matrix = replace(matrix, name=base_name(matrix.name))
        if not isinstance(graph, ir.Graph):
            raise Unrecognised("inside a function")
        home = needed(
            node, kind.planes[0][0]
        ).graph  # where the codes are: all that read them see it
        stubs = self.stubs(home if isinstance(home, ir.Graph) else graph, matrix)
        new = _gathered(stubs, data) if kind.gather else _multiplied(stubs, data)
        bias = given(node, kind.bias)
        if bias is not None:
            new.append(ir.node("Add", [new[-1].outputs[0], bias]))
        _name(new, name_of(output), self.editor)
        result = new[-1].outputs[0]
        result.type, result.shape = output.type, output.shape
        graph.insert_before(node, new)
        output.replace_all_uses_with(result, replace_graph_outputs=True)
        name = name_of(output)
        self.editor.drop([node])
        result.name = name
        self.editor.taken.add(name)

    def arrays(self) -> Arrays:
        """The constants that a node may read."""
        return Arrays(editor=self.editor, path=self.path)

    def is_ours(self, node: ir.Node) -> bool:
        """Whether the function that a node calls is the one that this package writes."""
        found = self.editor.model.functions.get(node.op_identifier())
        return found is not None and _shape_of(found) == _ours(node.op_type)

    def stubs(self, graph: ir.Graph, matrix: Tensor) -> list[ir.Value]:
        """Register a matrix, its rows as tensors of the source; their values, in order."""
        known = self.placed.get(matrix.name)
        if known is None or not _same(known[0], matrix):
            stubs = [self.editor.register(graph, part) for part in self.parts(matrix)]
            self.placed[matrix.name] = (matrix, stubs)
        return self.placed[matrix.name][1]

    def parts(self, matrix: Tensor) -> list[Tensor]:
        """The tensors whose rows a matrix holds, in order."""
        rows = self.manifest.rows_of(matrix.name, matrix.rows)
        return [sliced(matrix, name, start, stop) for name, start, stop in rows] or [matrix]


def _multiplied(weights: list[ir.Value], x: ir.Value) -> list[ir.Node]:
    nodes, products = [], []
    for weight in weights:
        turned = ir.node("Transpose", [weight], {"perm": [1, 0]})
        nodes += [turned, ir.node("MatMul", [x, turned.outputs[0]])]
        products.append(nodes[-1].outputs[0])
    return nodes if len(weights) == 1 else [*nodes, ir.node("Concat", products, {"axis": -1})]


def _gathered(weights: list[ir.Value], ids: ir.Value) -> list[ir.Node]:
    nodes = [ir.node("Concat", weights, {"axis": 0})] if len(weights) > 1 else []
    table = nodes[-1].outputs[0] if nodes else weights[0]
    return [*nodes, ir.node("Gather", [table, ids], {"axis": 0})]


def _name(nodes: list[ir.Node], base: str, editor: Editor) -> None:
    for node in nodes:
        node.outputs[0].name = editor.free(f"{base}.{node.op_type.lower()}")


def _same(a: Tensor, b: Tensor) -> bool:
    return (a.shape, a.encoding, a.dtype) == (b.shape, b.encoding, b.dtype)


@cache
def _ours(name: str) -> list[object]:
    return _shape_of(function(name))


def _shape_of(found: ir.Function) -> list[object]:
    """All of a function that decides what it computes."""
    nodes = [
        (
            node.domain,
            node.op_type,
            [None if value is None else value.name for value in node.inputs],
            [value.name for value in node.outputs],
            sorted(_attribute(attribute) for attribute in node.attributes.values()),
        )
        for node in found
    ]
    return [[v.name for v in found.inputs], [v.name for v in found.outputs], nodes]


def _attribute(attribute: ir.Attr) -> tuple[str, str, str]:
    value = attribute.ref_attr_name if attribute.is_ref() else repr(attribute.value)
    return attribute.name, str(attribute.type), str(value)
