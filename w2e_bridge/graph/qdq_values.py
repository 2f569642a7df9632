"""`QuantizeLinear` followed by `DequantizeLinear` to a property of the value between them, and back.

Semantics: onnx/onnx docs/Operators.md, QuantizeLinear: saturate(round(x / scale) + zero point).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from w2e_bridge.errors import FormatError, UnsupportedError
from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import (
    Unrecognised,
    given,
    integer,
    is_op,
    name_of,
    needed,
    only_output,
)
from w2e_bridge.graph.qdq_weights import same_extents
from w2e_bridge.graph.weights import DTYPE_NAMES, DTYPES
from w2e_bridge.ir.activation import ActivationMode, ActivationQuantization, Granularity
from w2e_bridge.ir.codes import Float, Integer
from w2e_bridge.ir.parts import AnyArray, Parts
from w2e_bridge.ir.plain import PLAIN, numpy_type
from w2e_bridge.ir.tensor import OwnedStorage, Tensor

HIDDEN = ".unquantized"
"""Behind the name of a value whose own name its quantized form has taken."""

_PARAMETERS = (
    1 << 16
)  # numbers of an activation's scale; a matrix's worth of them is no activation's


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Pair:
    """Quantize and dequantize nodes with equal parameters around one value."""

    quantize: ir.Node
    dequantize: tuple[ir.Node, ...]
    parameters: ActivationQuantization

    @property
    def key(self) -> tuple[object, ...]:
        """Equal where the parameters are."""
        p = self.parameters
        assert p.scale is not None
        zero = b"" if p.zero_point is None else p.zero_point.tobytes()
        return (str(p.codes), p.axis, str(p.scale.dtype), p.scale.shape, p.scale.tobytes(), zero)


def fold_values(editor: Editor) -> dict[str, ActivationQuantization]:
    """Fold all pairs of a graph; the quantization of each value by its name."""
    found: dict[str, ActivationQuantization] = {}
    values = [_input(node) for node in editor.nodes() if is_op(node, "QuantizeLinear")]
    for value in dict.fromkeys(v for v in values if v is not None):
        groups: dict[tuple[object, ...], list[_Pair]] = {}
        for user, index in list(value.uses()):
            pair = _pair(user, index, editor)
            if pair is not None:
                groups.setdefault(pair.key, []).append(pair)
        for pairs in groups.values():
            found[_fold(value, pairs, editor)] = pairs[0].parameters
    return found


def _input(node: ir.Node) -> ir.Value | None:
    return given(node, 0)


def _pair(node: ir.Node, index: int, editor: Editor) -> _Pair | None:
    if index or not is_op(node, "QuantizeLinear"):
        return None
    try:
        parameters = _parameters(node, editor, quantize=True)
        output = only_output(node)
        followers = tuple(user for user, _ in output.uses())
        if output.is_graph_output() or not followers:
            return None
        whole = _Pair(quantize=node, dequantize=followers, parameters=parameters)
        for user, place in output.uses():
            if place or not is_op(user, "DequantizeLinear"):
                return None
            own = _parameters(user, editor, quantize=False)
            same = _Pair(quantize=node, dequantize=(), parameters=own)
            if same.key != whole.key or only_output(user).name is None:
                return None
    except (Unrecognised, FormatError):  # the file of a scale may be missing
        return None
    return whole


def _parameters(node: ir.Node, editor: Editor, *, quantize: bool) -> ActivationQuantization:
    scale = editor.constant(needed(node, 1))
    zero = None if given(node, 2) is None else editor.constant(given(node, 2))
    plain = not scale.encoding.quantized and scale.elements <= _PARAMETERS
    if integer(node, "block_size", 0) or len(scale.shape) > 1 or not plain:
        raise Unrecognised("blocks of an activation")
    if zero is not None and not same_extents(zero, scale):
        raise Unrecognised("zero points of another shape than the scales")
    if quantize:
        _check_rounding(node)
    whole = scale.elements == 1
    return ActivationQuantization(
        codes=_codes(node, zero, quantize=quantize),
        mode=ActivationMode.STATIC,
        granularity=Granularity.TENSOR if whole else Granularity.CHANNEL,
        scale=_numbers(scale, whole=whole),
        zero_point=None if zero is None else _nonzero(_numbers(zero, whole=whole)),
        axis=None if whole else integer(node, "axis", 1),
    )


def _check_rounding(node: ir.Node) -> None:
    if integer(node, "saturate", 1) != 1 or integer(node, "precision", 0):
        raise Unrecognised("its own way of rounding")


def _codes(node: ir.Node, zero: Tensor | None, *, quantize: bool) -> Integer | Float:
    dtype = "uint8" if zero is None else zero.dtype
    if quantize and (wanted := integer(node, "output_dtype", 0)):
        dtype = DTYPE_NAMES.get(ir.DataType(wanted), "")
    if not quantize and zero is None:
        made = needed(node, 0).producer()
        if made is None:
            raise Unrecognised("codes of nowhere")
        return _codes(made, None, quantize=True)
    codes = PLAIN[dtype].codes if dtype in PLAIN else None
    if not isinstance(codes, Integer | Float) or codes.bits > 16:
        raise Unrecognised(f"codes of type {dtype}")
    return codes


def _numbers(tensor: Tensor, *, whole: bool) -> AnyArray:
    codes = tensor.storage.parts(0, tensor.rows).codes
    return codes.reshape(()) if whole else codes.reshape(tensor.shape)


def _nonzero(array: AnyArray) -> AnyArray | None:
    return array if bool(np.any(array.astype(np.float32))) else None


def _fold(value: ir.Value, pairs: list[_Pair], editor: Editor) -> str:
    """Take the nodes of equal pairs out; the name of the value that is quantized now."""
    outputs = [only_output(node) for pair in pairs for node in pair.dequantize]
    inside = {pair.quantize for pair in pairs}
    others = any(user not in inside for user, _ in value.uses()) or value.is_graph_output()
    visible = next((output for output in outputs if output.is_graph_output()), None)
    fixed = value.is_graph_input() or value.is_initializer()
    target = value
    if others or (visible is not None and fixed):
        target = _copy(value, pairs[0].quantize)
        visible = visible or outputs[0]
    name = name_of(outputs[0] if visible is None else visible)
    hidden = name_of(target) == name + HIDDEN
    for output in outputs:
        output.replace_all_uses_with(target, replace_graph_outputs=True)
    editor.drop(node for pair in pairs for node in pair.dequantize)
    if visible is not None or hidden:
        target.name = name
        editor.taken.add(name)
    return name_of(target)


def _copy(value: ir.Value, before: ir.Node) -> ir.Value:
    """A value of its own for consumers that see a quantization which others don't."""
    made = ir.Node("", "Identity", [value])
    copy = made.outputs[0]
    copy.type, copy.shape = value.type, value.shape
    assert isinstance(before.graph, ir.Graph)
    before.graph.insert_before(before, made)
    return copy


def unfold_values(editor: Editor, values: Mapping[str, ActivationQuantization]) -> None:
    """Write the nodes that say the quantization of each value: the inverse of `fold_values`.

    Raises:
        UnsupportedError: a quantization that these nodes can't say.
    """
    known = {name_of(v): v for graph in editor.model.graphs() for v in _values(graph)}
    for name, parameters in values.items():
        if name in known:
            _unfold(known[name], name, parameters, editor)


def _values(graph: ir.Graph) -> list[ir.Value]:
    inside = [output for node in graph for output in node.outputs]
    return [*graph.inputs, *graph.initializers.values(), *inside]


def _unfold(value: ir.Value, name: str, p: ActivationQuantization, editor: Editor) -> None:
    graph = value.graph
    static = p.mode is ActivationMode.STATIC and p.scale is not None and p.second_level is None
    grain = p.granularity in (Granularity.TENSOR, Granularity.CHANNEL)
    if not static or not grain or str(p.codes) not in DTYPES or not isinstance(graph, ir.Graph):
        raise UnsupportedError(f"'{name}': QuantizeLinear can't say this quantization")
    assert p.scale is not None
    # The type of the codes is that of the zero point, so that there is always one.
    zero = np.zeros(p.scale.shape, np.int8) if p.zero_point is None else p.zero_point
    arrays = (("scale", p.scale, str(p.scale.dtype)), ("zero_point", zero, str(p.codes)))
    parameters = [
        editor.register(graph, _small(f"{name}.{what}", array, dtype))
        for what, array, dtype in arrays
    ]
    attributes = {} if p.axis is None else {"axis": p.axis}
    quantize = ir.node("QuantizeLinear", [value, *parameters], attributes)
    dequantize = ir.node("DequantizeLinear", [quantize.outputs[0], *parameters], attributes)
    output = dequantize.outputs[0]
    output.type, output.shape = value.type, value.shape
    value.replace_all_uses_with(output, replace_graph_outputs=True)
    quantize.replace_input_with(0, value)
    fixed = value.is_graph_input() or value.is_initializer()
    if not fixed:
        value.name = editor.free(name + HIDDEN)
    output.name = editor.free(f"{name}.dequantized") if fixed else name
    quantize.outputs[0].name = editor.free(f"{name}.quantized")
    _insert_after(graph, value, [quantize, dequantize])


def _small(name: str, array: AnyArray, dtype: str) -> Tensor:
    encoding = PLAIN[dtype]
    codes = np.asarray(array).astype(numpy_type(encoding)).reshape(1, -1)
    storage = OwnedStorage(whole=Parts(codes=codes))
    shape = np.shape(array)
    return Tensor(name=name, shape=shape, dtype=dtype, encoding=encoding, storage=storage)


def _insert_after(graph: ir.Graph, value: ir.Value, nodes: list[ir.Node]) -> None:
    made = value.producer()
    if made is not None:
        graph.insert_after(made, nodes)
    elif len(graph):
        graph.insert_before(graph.node(0), nodes)
    else:
        graph.extend(nodes)
