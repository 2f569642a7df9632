"""Ranges that do not lie around zero, moved there without loss where products read the values.

TensorRT has no zero points. But a product of w and v is one of w and v - c, and c · Σw more: a constant
for each output, which its bias can hold. With c = scale · (middle code - zero point), v - c lies around
zero and has the source's own codes, less the middle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import STANDARD, attribute_of, given, is_op, is_weight, name_of
from w2e_bridge.graph.rewriting import read_instead
from w2e_bridge.ir.activation import ActivationQuantization, Granularity
from w2e_bridge.ir.codes import Integer
from w2e_bridge.ir.tensor import plain_tensor
from w2e_tensorrt.ranges import INT8

MOVES = frozenset(
    {"DepthToSpace", "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "SpaceToDepth",
     "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"}
)  # fmt: skip
"""Operators that move numbers and add none of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """A value that is quantized less a constant.

    Attributes:
        scale: the source's own.
        steps: the middle code less the zero point.
        products: the nodes whose sums make up for it.
        moved: values that are this one, moved elsewhere.
    """

    scale: np.float32
    steps: int
    products: tuple[ir.Node, ...]
    moved: tuple[ir.Value, ...]

    @property
    def constant(self) -> float:
        """What is taken off; 24 bits times 9 are exact in float64."""
        return float(self.scale) * self.steps


def shift_of(value: ir.Value, values: Mapping[str, ActivationQuantization]) -> Shift | None:
    """How a value can be moved around zero, None where it is there, or where something sees the difference."""
    found = values.get(name_of(value))
    steps = 0 if found is None else _steps(found)
    if found is None or found.scale is None or not steps or value.is_graph_output():
        return None
    products: list[ir.Node] = []
    moved: list[ir.Value] = []
    todo = [value]
    while todo:
        for user, index in todo.pop().uses():
            if user.graph is not value.graph:
                return None
            if index == 0 and takes_back(user):
                products.append(user)
                continue
            outputs = [output for output in user.outputs if output.uses()]
            moves = index == 0 and user.op_type in MOVES and user.domain in STANDARD
            if not moves or not all(_same(output, found, values) for output in user.outputs):
                return None
            moved += outputs
            todo += outputs
    scale = np.float32(np.reshape(found.scale, ()))
    return Shift(scale=scale, steps=steps, products=tuple(products), moved=tuple(moved))


def _steps(found: ActivationQuantization) -> int:
    """How far a range lies off the middle, in steps; 0 where it can't be moved."""
    codes = found.codes
    if not isinstance(codes, Integer) or codes.bits != INT8.bits or found.scale is None:
        return 0
    if found.granularity is not Granularity.TENSOR or np.size(found.scale) != 1:
        return 0
    zero = 0 if found.zero_point is None else int(np.reshape(found.zero_point, ()))
    scale = float(np.reshape(found.scale, ()))
    return (0 if codes.signed else 128) - zero if 0 < scale < np.inf else 0


def _same(
    value: ir.Value, found: ActivationQuantization, values: Mapping[str, ActivationQuantization]
) -> bool:
    """Whether a moved value is inner and rounded like the one that it was, or not at all."""
    own = values.get(name_of(value))
    if value.is_graph_output():
        return False
    if own is None:
        return True
    scales = (
        own.scale is not None and found.scale is not None and np.array_equal(own.scale, found.scale)
    )
    return scales and own.codes == found.codes and _steps(own) == _steps(found)


def takes_back(node: ir.Node) -> bool:
    """Whether a node's bias can make up for a constant off its first operand."""
    if node.domain not in STANDARD or _matrix(node) is None:
        return False
    bias = given(node, 2)
    if node.op_type == "Conv":
        return (bias is None or is_weight(bias)) and not _padded(node)
    if node.op_type == "Gemm":
        plain = all(attribute_of(node, name) in (None, 1.0) for name in ("alpha", "beta"))
        shape = None if bias is None or not is_weight(bias) else bias.shape
        flat = bias is None or (shape is not None and len(shape) == 1)
        return plain and flat and not attribute_of(node, "transA")
    return node.op_type == "MatMul"


def _matrix(node: ir.Node) -> tuple[ir.Value, tuple[int, ...]] | None:
    """The constant weights of a product, and the axes that it sums over."""
    value = given(node, 1)
    if is_weight(value) and value is not None:
        rank = len(value.shape or ())
        if node.op_type == "Conv":
            return value, tuple(range(1, rank))
        transposed = node.op_type == "Gemm" and attribute_of(node, "transB") == 1
        return (value, (1 if transposed else 0,)) if rank == 2 else None
    maker = None if value is None else value.producer()
    if maker is None or not is_op(maker, "Transpose") or attribute_of(maker, "perm") != (1, 0):
        return None
    before = given(maker, 0)
    return (before, (1,)) if before is not None and is_weight(before) else None


def _padded(node: ir.Node) -> bool:
    """Whether a convolution sees zeros that are not its operand's."""
    pads, automatic = attribute_of(node, "pads"), attribute_of(node, "auto_pad")
    if automatic in (None, "NOTSET", "VALID"):
        return isinstance(pads, tuple) and any(pads)
    weights = given(node, 1)
    kernel = () if weights is None or weights.shape is None else tuple(weights.shape)[2:]
    return any(extent != 1 for extent in kernel)


def shifts_of(
    model: ir.Model, values: Mapping[str, ActivationQuantization], kept: Mapping[str, object]
) -> Iterator[tuple[ir.Value, Shift]]:
    """The values of a graph that are moved, each before those that it goes on as."""
    done: set[ir.Value] = set()
    for node in model.graph:
        for value in node.outputs:
            if value in done or name_of(value) not in kept:
                continue
            shift = shift_of(value, values)
            if shift is not None:
                done.update(shift.moved)
                yield value, shift


def move(editor: Editor, value: ir.Value, shift: Shift) -> ir.Value:
    """Take the constant off a value and give it back behind its products.

    before: y = product(moved(v), w) + b, v quantized with a zero point.
    after:  y = product(moved(v - c), w) + (b + c · Σw), v - c quantized without.
    why exact: products are linear, and no number but v's own comes into them.

    Returns:
        The value to quantize.
    """
    graph, name = value.graph, name_of(value)
    maker = value.producer()
    assert isinstance(graph, ir.Graph)
    assert maker is not None
    users = list(value.uses())
    taken = editor.register(
        graph, plain_tensor(f"{name}.middle", np.asarray(shift.constant, np.float32))
    )
    node = ir.node("Sub", [value, taken])
    made = node.outputs[0]
    made.name, made.type, made.shape = editor.free(f"{name}.centred"), value.type, value.shape
    graph.insert_after(maker, node)
    for user, index in users:
        user.replace_input_with(index, made)
    for product in shift.products:
        _give_back(editor, product, shift.constant)
    return made


def _give_back(editor: Editor, node: ir.Node, constant: float) -> None:
    matrix, graph = _matrix(node), node.graph
    assert matrix is not None
    assert isinstance(graph, ir.Graph)
    weights, axes = matrix
    sums = editor.constant(weights).dequantize().sum(axis=axes, dtype=np.float64) * constant
    bias = given(node, 2) if node.op_type != "MatMul" else None
    if bias is not None:
        sums = sums + editor.constant(bias).dequantize()
    name = name_of(node.outputs[0])
    wanted = name_of(bias) if bias is not None else f"{name}.bias"
    made = editor.register(graph, plain_tensor(f"{wanted}.centred", sums.astype(np.float32)))
    if node.op_type == "MatMul":
        _add_behind(editor, node, made)
        return
    node.resize_inputs(3)
    node.replace_input_with(2, made)
    if bias is not None:
        editor.drop_constant(bias)


def _add_behind(editor: Editor, node: ir.Node, bias: ir.Value) -> None:
    """Put an addition behind a product, which takes over its result's name and quantization."""
    value, graph = node.outputs[0], node.graph
    assert isinstance(graph, ir.Graph)
    name = name_of(value)
    add = ir.node("Add", [value, bias])
    made = add.outputs[0]
    graph.insert_after(node, add)
    read_instead(graph, value, made)
    value.name, made.name = editor.free(f"{name}.product"), name


def reason(shift: Shift) -> str:
    """For the report."""
    return f"moved by {shift.steps} steps, which the biases behind take back"
