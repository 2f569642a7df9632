"""The parameters of `QuantizeLinear` and `DequantizeLinear` nodes, as the quantization of a value.

Semantics: onnx/onnx docs/Operators.md, QuantizeLinear: saturate(round(x / scale) + zero point).
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from w2e_bridge.errors import FormatError
from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import STANDARD, Unrecognised, given, integer, name_of, needed
from w2e_bridge.graph.planes import ArrayRange, plain_storage
from w2e_bridge.graph.qdq_weights import same_extents
from w2e_bridge.graph.weights import DTYPE_NAMES, DTYPES
from w2e_bridge.ir.activation import ActivationMode, ActivationQuantization, Granularity
from w2e_bridge.ir.codes import Float, Integer
from w2e_bridge.ir.parts import AnyArray
from w2e_bridge.ir.plain import PLAIN, numpy_type
from w2e_bridge.ir.tensor import Tensor

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"

_DOMAINS = (*STANDARD, "com.microsoft")
"""ONNX Runtime had the operators for 16 bits before the standard did."""

_PARAMETERS = 1 << 16
"""Numbers of an activation's scale; a matrix's worth of them is no activation's."""

Key = tuple[object, ...]


def is_linear(node: ir.Node | None, op: str) -> bool:
    """Whether a node is `QuantizeLinear` or `DequantizeLinear`, of the standard or of ONNX Runtime."""
    return node is not None and node.op_type == op and node.domain in _DOMAINS


def key_of(p: ActivationQuantization) -> Key:
    """Equal where two quantizations are."""
    scale = b"" if p.scale is None else p.scale.tobytes()
    kind = "" if p.scale is None else str(p.scale.dtype)
    zero = b"" if p.zero_point is None else p.zero_point.astype(np.int64).tobytes()
    return (str(p.codes), p.mode, p.granularity, p.axis, p.group, kind, scale, zero)


def parameters_of(
    node: ir.Node, editor: Editor, codes: Integer | Float | None = None
) -> ActivationQuantization:
    """What a node quantizes to, or dequantizes from.

    Args:
        node: of one of the two operators.
        editor: with the constants.
        codes: type of what is dequantized, where the node itself doesn't say it.

    Raises:
        Unrecognised: parameters that are computed, or in blocks, or another way of rounding.
    """
    scale = _constant(needed(node, 1), editor)
    third = given(node, 2)
    zero = None if third is None else _constant(third, editor)
    if integer(node, "block_size", 0) or len(scale.shape) > 1:
        raise Unrecognised("blocks of an activation")
    if zero is not None and not same_extents(zero, scale):
        raise Unrecognised("zero points of another shape than the scales")
    if is_linear(node, QUANTIZE) and (
        integer(node, "saturate", 1) != 1 or integer(node, "precision", 0)
    ):
        raise Unrecognised("its own way of rounding")
    whole = scale.elements == 1
    return ActivationQuantization(
        codes=code_type(node, zero, codes),
        mode=ActivationMode.STATIC,
        granularity=Granularity.TENSOR if whole else Granularity.CHANNEL,
        scale=numbers(scale, whole=whole),
        zero_point=None if zero is None else nonzero(numbers(zero, whole=whole)),
        axis=None if whole else integer(node, "axis", 1),
    )


def _constant(value: ir.Value, editor: Editor) -> Tensor:
    tensor = editor.constant(value)
    if tensor.encoding.quantized or tensor.elements > _PARAMETERS:
        raise Unrecognised("parameters of another kind")
    return tensor


def code_type(
    node: ir.Node, zero: Tensor | None, known: Integer | Float | None = None
) -> Integer | Float:
    """The codes that a node makes or reads; `known`: what they are where the node doesn't say it."""
    if zero is not None:
        dtype = zero.dtype
    elif is_linear(node, QUANTIZE):
        wanted = integer(node, "output_dtype", 0)
        dtype = DTYPE_NAMES.get(ir.DataType(wanted), "") if wanted else "uint8"
    elif known is not None:
        return known
    else:
        kind = needed(node, 0).dtype
        dtype = "" if kind is None else DTYPE_NAMES.get(kind, "")
    codes = PLAIN[dtype].codes if dtype in PLAIN else None
    if not isinstance(codes, Integer | Float) or codes.bits > 16:
        raise Unrecognised(f"codes of type {dtype}")
    return codes


def numbers(tensor: Tensor, *, whole: bool) -> AnyArray:
    """The numbers of a small constant; a single one has rank 0.

    Raises:
        Unrecognised: its file is missing.
    """
    try:
        codes = tensor.storage.parts(0, tensor.rows).codes
    except FormatError as error:
        raise Unrecognised(str(error)) from error
    return codes.reshape(()) if whole else codes.reshape(tensor.shape)


def nonzero(array: AnyArray) -> AnyArray | None:
    """The zero points, None where all of them are 0."""
    return array if bool(np.any(array.astype(np.float32))) else None


def small(name: str, array: AnyArray, dtype: str) -> Tensor:
    """A small constant of the model, in memory, that can be read like one of a file."""
    kind = DTYPES[dtype]
    codes = np.asarray(array).astype(numpy_type(PLAIN[dtype]))
    data = ir.Tensor(codes.astype(kind.numpy()), dtype=kind).tobytes()
    source = ArrayRange(data=np.frombuffer(data, np.uint8))
    shape = tuple(codes.shape)
    storage = plain_storage(source, dtype, shape)
    return Tensor(name=name, shape=shape, dtype=dtype, encoding=PLAIN[dtype], storage=storage)


def scale_and_zero(
    editor: Editor, graph: ir.Graph, name: str, p: ActivationQuantization
) -> list[ir.Value]:
    """Stubs of a quantization's scale and zero point, as nodes read them.

    The type of the codes is that of the zero point, so that there is always one.
    """
    assert p.scale is not None
    zero = np.zeros(p.scale.shape, np.int8) if p.zero_point is None else p.zero_point
    arrays = (("scale", p.scale, str(p.scale.dtype)), ("zero_point", zero, str(p.codes)))
    return [
        editor.register(graph, small(f"{name}.{what}", array, dtype))
        for what, array, dtype in arrays
    ]


def linear(op: str, value: ir.Value, editor: Editor, p: ActivationQuantization) -> ir.Node:
    """A node that quantizes or dequantizes a value; it is in no graph yet."""
    graph = value.graph
    assert isinstance(graph, ir.Graph)
    stubs = scale_and_zero(editor, graph, name_of(value), p)
    attributes = {} if p.axis is None else {"axis": p.axis}
    return ir.node(op, [value, *stubs], attributes)


def insert_after(graph: ir.Graph, value: ir.Value, nodes: list[ir.Node]) -> None:
    """Put nodes where a value is known first."""
    made = value.producer()
    if made is not None:
        graph.insert_after(made, nodes)
    elif len(graph):
        graph.insert_before(graph.node(0), nodes)
    else:
        graph.extend(nodes)
