"""Products with constant matrices, which kernels keep as (out, in)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.inspecting import is_op, is_weight
from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.passes.layout.constants import narrowed, turned
from w2e_bridge.passes.legalize.place import Place
from w2e_bridge.passes.legalize.rules import Rule


def gemm(place: Place) -> bool:
    """A Gemm of any kind as the one that kernels are.

    before: Gemm(A, B, C, alpha, beta, transA, transB).
    after: Gemm(A', B', C', transB=1) where B and C are constants: B' (out, in), C' a vector; else
        MatMul and Add, factors as Mul.
    why exact: a transposed matrix has the same numbers; alpha and beta become factors of their own.
    """
    plain = place.number("alpha", 1.0) == place.number("beta", 1.0) == 1.0
    c, b = place.input(2), place.need(1)
    fits = c is None or (place.tensor(c) is not None and _columns(place, c) is not None)
    if not plain or place.integer("transA") or place.tensor(b) is None or not fits:
        return _parts(place)
    vector = None if c is None else _vector(place, c)
    if place.integer("transB") and vector is c:
        return False
    if not place.integer("transB"):
        b = _turned(place, b)
    inputs = [place.need(0), b] if vector is None else [place.need(0), b, vector]
    made = place.add("Gemm", *inputs, attributes={"transB": 1})
    made.producer().metadata_props.update(place.node.metadata_props)  # type: ignore[union-attr]
    return place.replace(made)


def _turned(place: Place, value: ir.Value) -> ir.Value:
    tensor = place.tensor(value)
    made = None if tensor is None else turned(tensor, (1, 0))
    return (
        place.add("Transpose", value, attributes={"perm": [1, 0]})
        if made is None
        else place.weight(made)
    )


def _columns(place: Place, bias: ir.Value) -> int | None:
    """Columns of the product, where a bias has as many and no more numbers."""
    shape, output = place.static(bias), place.shape(place.output)
    if shape is None or output is None or not isinstance(output[-1], int):
        return None
    return (
        output[-1]
        if shape and shape[-1] == output[-1] and int(np.prod(shape)) == output[-1]
        else None
    )


def _vector(place: Place, bias: ir.Value) -> ir.Value:
    """A bias without its leading axes."""
    tensor = place.tensor(bias)
    if tensor is None or len(tensor.shape) == 1:
        return bias
    return place.weight(_flat(tensor))


def _flat(tensor: Tensor) -> Tensor:
    flat = narrowed(tensor)
    if flat.shape:
        return flat
    encoding = flat.encoding
    return replace(flat, shape=(1,), encoding=encoding)


def _parts(place: Place) -> bool:
    """Gemm as MatMul and Add."""
    factors = []
    for slot, name in ((0, "transA"), (1, "transB")):
        value = place.need(slot)
        if place.integer(name):
            value = place.add("Transpose", value, attributes={"perm": [1, 0]})
        factors.append(value)
    product = place.add("MatMul", *factors)
    alpha, beta = place.number("alpha", 1.0), place.number("beta", 1.0)
    if alpha != 1.0:
        product = place.add("Mul", product, place.like(alpha, place.output))
    c = place.input(2)
    if c is not None and beta != 0.0:
        if beta != 1.0:
            c = place.add("Mul", c, place.like(beta, place.output))
        product = place.add("Add", product, c)
    return place.replace(product)


def matmul(place: Place) -> bool:
    """A product with a constant matrix.

    before: MatMul(x, W: (in, out)).
    after: MatMul(x, Transpose(W': (out, in))).
    why exact: the same numbers.
    """
    weights = place.need(1)
    tensor, rank = place.tensor(weights), place.rank(place.need(0))
    if tensor is None or len(tensor.shape) != 2 or rank is None or rank < 2:
        return False
    made = turned(tensor, (1, 0))
    if made is None:
        return False
    back = place.add("Transpose", place.weight(made), attributes={"perm": [1, 0]})
    place.node.replace_input_with(1, back)
    return True


def vector_first(place: Place) -> bool:
    """A product of a vector is one of a matrix of one row, or of one column.

    before: MatMul(x: (n,), y), MatMul(x, y: (n,)).
    after: Squeeze(MatMul(Unsqueeze(x), y)).
    why exact: onnx/onnx docs/Operators.md, MatMul, as numpy.matmul.
    """
    ranks = [place.rank(place.need(slot)) for slot in (0, 1)]
    if None in ranks or 1 not in ranks:
        return False
    axes, inputs = [], []
    for slot, axis in ((0, 0), (1, 1)):
        value = place.need(slot)
        if ranks[slot] == 1:
            value = place.add("Unsqueeze", value, place.constant([axis]))
            axes.append(-2 if slot == 0 else -1)
        inputs.append(value)
    product = place.add("MatMul", *inputs)
    return place.replace(place.add("Squeeze", product, place.constant(axes)))


def bias(place: Place) -> bool:
    """A bias behind a product is a vector.

    before: Add(MatMul(x, W), b: (1, 1, out)).
    after: Add(MatMul(x, W), b: (out,)).
    why exact: both broadcast alike.
    """
    for slot in (0, 1):
        value, other = place.need(slot), place.need(1 - slot)
        tensor = place.tensor(value)
        made = place.inside(other, "MatMul")
        if tensor is None or made is None or len(tensor.shape) < 2:
            continue
        matrix = made.inputs[1]
        maker = None if matrix is None else matrix.producer()
        fully = maker is not None and is_op(maker, "Transpose") and is_weight(maker.inputs[0])
        rank = place.rank(other)
        if (
            fully
            and _columns(place, value) is not None
            and rank is not None
            and len(tensor.shape) <= rank
        ):
            place.node.replace_input_with(slot, place.weight(_flat(tensor)))
            return True
    return False


RULES: Mapping[str, tuple[Rule, ...]] = {
    "Gemm": (gemm,),
    "MatMul": (vector_first, matmul),
    "Add": (bias,),
}
