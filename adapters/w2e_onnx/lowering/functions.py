"""Model-local functions of the domain `w2e.ort`: products that take several nodes.

ONNX Runtime inlines them at load, every ONNX tool reads them, and a reader knows them by name.

- `MatMulMinimums`: A Wᵀ with W = s q + m, as MatMulNBits of s (q - z) plus (sums of A over each block)
  times (m + s z)ᵀ, in float32. Where A is rounded to 8 bits the error is that of the first term, so z is
  the middle of the codes: half the error of z = 0. m + s z is folded at load; m and s are stored.
- `MatMulHalves`: A Wᵀ of 8-bit codes as two MatMulNBits of 4 bits, high and low half.
- `MatMulHalvesMinimums`: both.
- `GatherMinimums`, `GatherHalves`, `GatherHalvesMinimums`: rows of the same matrices.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from w2e_bridge.graph.functions import Body

DOMAIN = "w2e.ort"
VERSION = 1
MICROSOFT = "com.microsoft"
OPSETS = {"": 21, MICROSOFT: 1}

_NBITS = ("K", "N", "bits", "block_size", "accuracy_level")
_GATHER = ("bits", "block_size")


def _value(name: str) -> ir.Value:
    return ir.Value(name=name)


def _reference(name: str, kind: ir.AttributeType = ir.AttributeType.INT) -> ir.Attr:
    return ir.RefAttr(name, name, kind)


def _integers(body: Body, name: str) -> ir.Value:
    """A constant whose integers are an attribute of the function."""
    reference = ir.RefAttr("value_ints", name, ir.AttributeType.INTS)
    return body.add("Constant", [], f"{name}_shape", [reference])


def _last_axis(body: Body) -> ir.Value:
    return body.integers([-1], "last")


def _function(
    name: str, body: Body, inputs: Sequence[ir.Value], output: ir.Value, attributes: Sequence[str]
) -> ir.Function:
    graph = ir.Graph(inputs, [output], nodes=body.nodes, opset_imports=OPSETS, name=name)
    kinds = {
        "blocks": ir.AttributeType.INTS,
        "rows": ir.AttributeType.INTS,
        "centre": ir.AttributeType.FLOAT,
    }
    parameters = [ir.Attr(a, kinds.get(a, ir.AttributeType.INT), None) for a in attributes]
    return ir.Function(DOMAIN, name, graph=graph, attributes=parameters)


def _matmul(*, halves: bool, minimums: bool) -> ir.Function:
    body, a = Body(), _value("A")
    inputs = [a]
    sums: list[ir.Value] = []
    for half in ("high", "low") if halves else ("",):
        arrays = [_value(f"{half}{n}") for n in ("codes", "scale", "zero_point")]
        inputs += arrays
        attributes = [_reference(n) for n in _NBITS]
        sums.append(body.add("MatMulNBits", [a, *arrays], f"{half}product", attributes, MICROSOFT))
    names = [*_NBITS]
    if minimums:
        least = _value("minimums")
        inputs.append(least)
        blocks = body.add("Reshape", [a, _integers(body, "blocks")], "in_blocks")
        total = body.add(
            "ReduceSum", [blocks, _last_axis(body)], "block_sums", [ir.AttrInt64("keepdims", 0)]
        )
        turned = body.add(
            "Transpose",
            [_centred(body, least, inputs[2])],
            "turned",
            [ir.AttrInt64s("perm", [1, 0])],
        )
        sums.append(body.add("MatMul", [total, turned], "offset"))
        names += ["blocks", "centre"]
    name = "MatMul" + ("Halves" if halves else "") + ("Minimums" if minimums else "")
    return _function(name, body, inputs, _summed(body, sums), names)


def _centred(body: Body, minimums: ir.Value, scale: ir.Value) -> ir.Value:
    """What is left of a weight when its code is the centre: m + s z."""
    reference = ir.RefAttr("value_float", "centre", ir.AttributeType.FLOAT)
    centre = body.add("Constant", [], "centre", [reference])
    return body.add("Add", [minimums, body.add("Mul", [scale, centre], "moved")], "centred")


def _summed(body: Body, values: list[ir.Value]) -> ir.Value:
    total = values[0]
    for number, value in enumerate(values[1:]):
        total = body.add("Add", [total, value], f"sum{number}")
    return total


def _gather(*, halves: bool, minimums: bool) -> ir.Function:
    body, ids = Body(), _value("ids")
    inputs: list[ir.Value] = []
    rows: list[ir.Value] = []
    for half in ("high", "low") if halves else ("",):
        codes, scale, zero = (_value(f"{half}{n}") for n in ("codes", "scale", "zero_point"))
        inputs += [codes, scale, zero]
        attributes = [_reference(n) for n in _GATHER]
        attributes += [ir.AttrInt64("gather_axis", 0), ir.AttrInt64("quantize_axis", 1)]
        rows.append(
            body.add(
                "GatherBlockQuantized",
                [codes, ids, scale, zero],
                f"{half}rows",
                attributes,
                MICROSOFT,
            )
        )
    total, names = _summed(body, rows), [*_GATHER]
    if minimums:
        least = _value("minimums")
        inputs.append(least)
        picked = body.add("Gather", [least, ids], "picked", [ir.AttrInt64("axis", 0)])
        offset = body.add("Unsqueeze", [picked, _last_axis(body)], "offset")
        blocks = body.add("Reshape", [total, _integers(body, "blocks")], "in_blocks")
        shifted = body.add("Add", [blocks, offset], "shifted")
        total = body.add("Reshape", [shifted, _integers(body, "rows")], "flat")
        names += ["blocks", "rows"]
    name = "Gather" + ("Halves" if halves else "") + ("Minimums" if minimums else "")
    return _function(name, body, [*inputs, ids], total, names)


def function(name: str) -> ir.Function:
    """A fresh copy of a function of the domain by its name."""
    make = _matmul if name.startswith("MatMul") else _gather
    return make(halves="Halves" in name, minimums=name.endswith("Minimums"))
