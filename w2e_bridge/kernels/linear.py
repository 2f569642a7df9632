"""Products of matrices: with a constant one and a bias (fully connected), and of two values."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.graph.inspecting import given, is_weight
from w2e_bridge.kernels.build import Builder
from w2e_bridge.kernels.convolution import HINTS, bias_type, weights_shape
from w2e_bridge.kernels.hints import keep, kept
from w2e_bridge.kernels.hybrid import ASYMMETRIC, is_dynamic
from w2e_bridge.kernels.kind import Kind
from w2e_bridge.kernels.operation import Operand, Operation
from w2e_bridge.kernels.reading import extents, integers, number, rank_of
from w2e_bridge.kernels.scope import Scope, attribute, fused

SPARSE = "sparse_weights"
"""Option of our own: the weights are stored sparse, for which there is a kernel that rounds otherwise."""
LINEAR_HINTS: dict[str, str | bool] = {**HINTS, SPARSE: False}
FLAT_HINTS: dict[str, str | bool] = {**LINEAR_HINTS, "keep_num_dims": False}
"""Of a matrix, where keeping the dimensions makes no difference."""
PRODUCT_HINTS: dict[str, str | bool] = {"kind": ""}
"""A product with a constant matrix is read as fully connected, unless the hint says its kind."""


def swapped(rank: int) -> tuple[int, ...]:
    """The permutation that swaps the last two axes."""
    return (*range(rank - 2), rank - 1, rank - 2)


def _build(operation: Operation, builder: Builder) -> None:
    _, depth = weights_shape(operation, 1, 2)
    if operation.text("weights_format", "DEFAULT") != "DEFAULT":
        raise UnsupportedError("shuffled weights of a fully connected operator")
    x, weights = builder.value(operation.input(0)), builder.value(operation.input(1))
    bias = None if operation.input(2) is None else builder.value(operation.input(2))
    shape = extents(x)
    if operation.integer("keep_num_dims") and (shape is None or len(shape) != 2):
        turned = builder.node("Transpose", [weights], {"perm": (1, 0)})
        _product(operation, builder, [x, turned], bias)
        return
    if shape is None or len(shape) != 2 or shape[1] != depth:
        x = builder.node("Reshape", [x, builder.integers("rows", (-1, depth))])
    made = [x, weights] if bias is None else [x, weights, bias]
    builder.last("Gemm", made, operation, {"transB": 1})
    keep(operation, _maker_before(operation, "Gemm"), FLAT_HINTS)


def _product(
    operation: Operation, builder: Builder, factors: list[ir.Value], bias: ir.Value | None
) -> None:
    if bias is None:
        builder.last("MatMul", factors, operation)
    else:
        product = builder.node("MatMul", factors)
        keep(operation, product.producer(), LINEAR_HINTS)
        builder.last("Add", [product, bias], operation)
        return
    keep(operation, _maker_before(operation, "MatMul"), LINEAR_HINTS)


def _maker_before(operation: Operation, op: str) -> ir.Node | None:
    """The node of an operator that makes an output, perhaps through a fused activation."""
    node = operation.outputs[0].producer()
    while node is not None and node.op_type != op:
        before = given(node, 0)
        node = None if before is None else before.producer()
    return node


def asymmetric(x: Operand, scope: Scope) -> bool:
    """Whether a value that a kernel rounds at run time gets a zero point."""
    quantization = scope.quantization(x) if isinstance(x, ir.Value) else None
    return (
        quantization is not None and is_dynamic(quantization) and quantization.narrow_range is False
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Product:
    """A product that may be fully connected: its node, operands and the nodes around."""

    node: ir.Node
    x: ir.Value
    weights: ir.Value
    bias: ir.Value | None
    keeps: bool
    nodes: tuple[ir.Node, ...]


def _match(root: ir.Node, scope: Scope) -> Operation | None:
    for way in fused(root, scope):
        found = _gemm(way.node, scope) or _matmul(way.node, scope)
        if found is None or not _bias_fits(found):
            continue
        hints = kept(found.node, FLAT_HINTS)
        hints |= bias_type(found.node, found.x, found.bias, scope)
        hints["keep_num_dims"] = found.keeps or bool(hints["keep_num_dims"])
        hints[ASYMMETRIC] = asymmetric(found.x, scope)
        if not hints[SPARSE]:
            del hints[SPARSE]
        return Operation(
            kind="fully_connected",
            inputs=(found.x, found.weights, *([] if found.bias is None else [found.bias])),
            outputs=(root.outputs[0],),
            attributes={
                "fused_activation_function": way.activation,
                "weights_format": "DEFAULT",
                **hints,
            },
            nodes=(*found.nodes, *way.nodes),
        )
    return None


def _bias_fits(found: _Product) -> bool:
    shape, weights = extents(found.bias), extents(found.weights)
    return found.bias is None or (
        shape is not None and weights is not None and shape == weights[:1]
    )


def _gemm(node: ir.Node, scope: Scope) -> _Product | None:
    x, weights = given(node, 0), given(node, 1)
    plain = attribute(node, "alpha", 1.0) == 1.0 and attribute(node, "beta", 1.0) == 1.0
    if node.op_type != "Gemm" or x is None or weights is None or not plain:
        return None
    if number(node, "transA", 0) or not number(node, "transB", 0) or rank_of(weights) != 2:
        return None
    nodes: tuple[ir.Node, ...] = (node,)
    reshape = scope.inside(x, "Reshape")
    if reshape is not None and _flattens(reshape, weights, scope):
        before = given(reshape, 0)
        if before is not None:
            x, nodes = before, (reshape, node)
    return _Product(node=node, x=x, weights=weights, bias=given(node, 2), keeps=False, nodes=nodes)


def _flattens(reshape: ir.Node, weights: ir.Value, scope: Scope) -> bool:
    target, shape = integers(given(reshape, 1), scope), extents(weights)
    return target is not None and shape is not None and target == [-1, shape[1]]


def _matmul(node: ir.Node, scope: Scope) -> _Product | None:
    bias: ir.Value | None = None
    nodes: tuple[ir.Node, ...] = (node,)
    if node.op_type == "Add":
        inner = scope.inside(given(node, 0), "MatMul")
        bias = given(node, 1)
        if inner is None:
            inner, bias = scope.inside(given(node, 1), "MatMul"), given(node, 0)
        if inner is None:
            return None
        node, nodes = inner, (inner, node)
    x = given(node, 0)
    weights = scope.transposed(given(node, 1), (1, 0)) if node.op_type == "MatMul" else None
    turned = None if weights is None else scope.maker(given(node, 1), "Transpose")
    if x is None or weights is None or turned is None or not is_weight(weights):
        return None
    if kept(node, PRODUCT_HINTS)["kind"] or rank_of(x) in (None, 1):
        return None
    # A matrix needs no keeping, and ONNX has both forms for it.
    keeps = rank_of(x) != 2
    return _Product(node=node, x=x, weights=weights, bias=bias, keeps=keeps, nodes=(turned, *nodes))


def _build_batch(operation: Operation, builder: Builder) -> None:
    factors = []
    for index, name in enumerate(("adj_x", "adj_y")):
        value = builder.value(operation.input(index))
        if operation.integer(name):
            rank = rank_of(value)
            if rank is None or rank < 2:
                raise UnsupportedError("a transposed factor of unknown rank")
            value = builder.node("Transpose", [value], {"perm": swapped(rank)})
        factors.append(value)
    node = builder.node("MatMul", factors, outputs=operation.outputs).producer()
    keep(operation, node, PRODUCT_HINTS)
    constant = is_weight(builder.value(operation.input(1)))
    if node is not None and constant and rank_of(factors[0]) != 1:
        node.metadata_props["w2e.kernel.kind"] = operation.kind


def _match_batch(root: ir.Node, scope: Scope) -> Operation | None:
    operands: list[Operand] = []
    turned, nodes = [], []
    for index in (0, 1):
        value = given(root, index)
        maker = scope.maker(value, "Transpose")
        perm = None if maker is None else attribute(maker, "perm")
        adjoint = isinstance(perm, tuple) and len(perm) > 1 and perm == swapped(len(perm))
        if maker is not None and adjoint:
            value = given(maker, 0)
            nodes.append(maker)
        if value is None or (not adjoint and (rank_of(value) or 0) < 2):
            return None
        turned.append(adjoint)
        operands.append(value)
    return Operation(
        kind="batch_matmul",
        inputs=tuple(operands),
        outputs=(root.outputs[0],),
        attributes={
            "adj_x": turned[0],
            "adj_y": turned[1],
            ASYMMETRIC: asymmetric(operands[0], scope),
        },
        nodes=(*nodes, root),
    )


KINDS = (
    Kind(
        name="fully_connected",
        build=_build,
        roots=("Gemm", "MatMul", "Add", "Relu", "Clip"),
        match=_match,
    ),
    Kind(name="batch_matmul", build=_build_batch, roots=("MatMul",), match=_match_batch),
)
