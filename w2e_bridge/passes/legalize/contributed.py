"""ONNX Runtime's own operators in standard ones: microsoft/onnxruntime docs/ContribOperators.md."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from w2e_bridge.passes.legalize.place import Place
from w2e_bridge.passes.legalize.rules import Rule


def gelu(*, approximate: bool, biased: bool) -> Rule:
    """GELU, of a sum or not.

    before: Gelu(x), BiasGelu(x, bias), FastGelu(x, bias).
    after: Gelu(x + bias).
    why exact: their definitions; the last one is the approximation by a hyperbolic tangent.
    """

    def rule(place: Place) -> bool:
        x, bias = place.need(0), place.input(1) if biased else None
        if bias is not None:
            x = place.add("Add", x, bias)
        how = {"approximate": "tanh" if approximate else "none"}
        return place.replace(place.add("Gelu", x, attributes=how))

    return rule


def fused_matmul(place: Place) -> bool:
    """A product of matrices that are turned, with a factor.

    before: FusedMatMul(a, b, alpha, transA, transB).
    after: MatMul(Transpose(a), Transpose(b)) · alpha.
    why exact: its definition.
    """
    factors = []
    for slot, name in ((0, "transA"), (1, "transB")):
        value, rank = place.need(slot), place.rank(place.need(slot))
        if place.integer(f"transBatch{name[-1]}") or rank is None:
            return False
        if place.integer(name) and rank > 1:
            perm = [*range(rank - 2), rank - 1, rank - 2]
            value = place.add("Transpose", value, attributes={"perm": perm})
        factors.append(value)
    product = place.add("MatMul", *factors)
    alpha = place.number("alpha", 1.0)
    if alpha != 1.0:
        product = place.add("Mul", product, place.like(alpha, product))
    return place.replace(product)


def fused_activation(op: str) -> Rule:
    """A product or convolution with an activation.

    before: FusedConv(x, W, b, activation), FusedGemm.
    after: the activation of Conv(x, W, b) or Gemm.
    why exact: their definitions.
    """

    def rule(place: Place) -> bool:
        kind = place.text("activation", "")
        if len(place.node.inputs) > 3 or kind not in ("", "Relu", "Sigmoid", "Tanh"):
            return False
        own = {
            n: a.value for n, a in place.node.attributes.items() if not n.startswith("activation")
        }
        made = place.add(op, *place.node.inputs, attributes=own)
        return place.replace(place.add(kind, made) if kind else made)

    return rule


def skip_root_mean_square(place: Place) -> bool:
    """A sum and its normalization in one.

    before: SkipSimplifiedLayerNormalization(x, skip, gamma, bias).
    after: RMSNormalization(x + skip + bias, gamma), and the sum where it is read.
    why exact: its definition.
    """
    outputs = place.node.outputs
    if any(o.uses() or o.is_graph_output() for o in outputs[1:3]):
        return False
    total = place.add("Add", place.need(0), place.need(1))
    if place.input(3) is not None:
        total = place.add("Add", total, place.need(3))
    attributes = {"axis": -1, "epsilon": place.number("epsilon", 1e-12)}
    made = place.add("RMSNormalization", total, place.need(2), attributes=attributes)
    return finished(place, made, total)


def finished(place: Place, made: ir.Value, total: ir.Value) -> bool:
    """Replace a node whose fourth output is a sum, which may be read as well."""
    outputs = place.node.outputs
    if len(outputs) > 3 and (outputs[3].uses() or outputs[3].is_graph_output()):
        copy = place.add("Identity", total)
        name = outputs[3].name
        outputs[3].name = place.work.editor.free(f"{name}.replaced")
        outputs[3].replace_all_uses_with(copy, replace_graph_outputs=True)
        copy.name, copy.type, copy.shape = name, outputs[3].type, outputs[3].shape
    return place.replace(made)


def skip_layer(place: Place) -> bool:
    """A sum and layer normalization in one.

    before: SkipLayerNormalization(x, skip, gamma, beta, bias).
    after: LayerNormalization(x + skip + bias, gamma, beta), and the sum where it is read.
    why exact: its definition.
    """
    if any(o.uses() or o.is_graph_output() for o in place.node.outputs[1:3]):
        return False
    total = place.add("Add", place.need(0), place.need(1))
    if place.input(4) is not None:
        total = place.add("Add", total, place.need(4))
    beta = place.input(3)
    parameters = [place.need(2)] if beta is None else [place.need(2), beta]
    attributes = {"axis": -1, "epsilon": place.number("epsilon", 1e-12)}
    made = place.add("LayerNormalization", total, *parameters, attributes=attributes)
    return finished(place, made, total)


_DOMAIN = "com.microsoft::"
RULES: Mapping[str, tuple[Rule, ...]] = {
    _DOMAIN + "Gelu": (gelu(approximate=False, biased=False),),
    _DOMAIN + "BiasGelu": (gelu(approximate=False, biased=True),),
    _DOMAIN + "FastGelu": (gelu(approximate=True, biased=True),),
    _DOMAIN + "FusedMatMul": (fused_matmul,),
    _DOMAIN + "FusedConv": (fused_activation("Conv"),),
    _DOMAIN + "FusedGemm": (fused_activation("Gemm"),),
    _DOMAIN + "SkipLayerNormalization": (skip_layer,),
    _DOMAIN + "SkipSimplifiedLayerNormalization": (skip_root_mean_square,),
}
