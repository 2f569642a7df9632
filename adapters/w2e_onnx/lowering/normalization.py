"""RMSNormalization to ONNX Runtime's own operators, the residual sum taken into it."""

from __future__ import annotations

import onnx_ir as ir

from w2e_bridge.graph.rewriting import given, maker, named, node, replace
from w2e_onnx.lowering.functions import MICROSOFT


def fuse_normalization(graph: ir.Graph) -> None:
    """Normalization with the sum before it as one node.

    before: s = Add(a, b); y = RMSNormalization(s, scale); other readers of s.
    after:  y, _, _, s = SkipSimplifiedLayerNormalization(a, b, scale); without a sum, y =
        SimplifiedLayerNormalization(s, scale).
    why exact: the kernel computes the same sum and normalization in float32 and gives both out
        (microsoft/onnxruntime docs/ContribOperators.md).
    """
    for user in list(graph):
        if user.op_type != "RMSNormalization" or user.domain:
            continue
        x, scale = given(user, 0), given(user, 1)
        epsilon = user.attributes["epsilon"].as_float()
        total = maker(x, "Add")
        if total is None or not _residual(total):
            attributes = {"axis": -1, "epsilon": epsilon, "stash_type": 1}
            new = node("", "SimplifiedLayerNormalization", [x, scale], attributes, named(user))
            replace(graph, [user], [new])
            continue
        a, b = given(total, 0), given(total, 1)
        name = named(user)
        new = node(
            MICROSOFT,
            "SkipSimplifiedLayerNormalization",
            [a, b, scale],
            {"epsilon": epsilon},
            name,
            4,
        )
        for output in new.outputs[1:3]:
            output.name = ""
        before, now = [user.outputs[0], x], [new.outputs[0], new.outputs[3]]
        ir.convenience.replace_nodes_and_values(graph, total, [total, user], [new], before, now)


def _residual(total: ir.Node) -> bool:
    """Whether a sum is of two activations, and not of one and a bias."""
    return not any(value is None or value.is_initializer() for value in total.inputs) and (
        not total.outputs[0].is_graph_output()
    )
