"""Which version of an operator a file asks for: what its operands and options need.

Facts of google-ai-edge/LiteRT `tflite/converter/tools/versioning/op_version.cc` (commit f674577). A runtime
refuses a version beyond its latest, whatever the kernel could do; LiteRT's reference resolver
(`tflite/core/kernels/register_ref.cc`) has older ones than the default (`register.cc`) for the same kernels. No
row is beyond either: what op_version.cc says above the reference's latest, its latest computes as well
(STRIDED_SLICE with `offset` does not).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from w2e_bridge.kernels.operation import Attribute
from w2e_tflite.container import type_name
from w2e_tflite.record import Record

RULES = """
add 5 0:float16 | 5 0:int16 plain | 4 0:int64 | 3 0:int16 | 2 0:int8
sub 5 0:int16 | 4 0:int64 | 3 broadcast rank>4 | 2 0:int8
mul 7 0:float16 | 7 0:int16 plain | 7 0:uint32 | 5 0:int64 | 4 0:int16 | 3 rescale | 2 0:int8
div 2 broadcast rank>4
maximum 4 0:int16 | 3 broadcast rank>4 | 2 0:int8
minimum 4 0:int16 | 3 broadcast rank>4 | 2 0:int8
floor_div 3 0:int16,int8 | 2 0:float32
floor_mod 2 0:int16,int8
squared_difference 2 0:int8
conv_2d 6 grouped | 4 0:int16 1:int16 | 3 0:int8 1:int8 | 7 0:int8 1:int4 | 5 0:float32 1:int8
  channels | 2 0:float32 1:int8
depthwise_conv_2d 5 0:int16 1:int16 | 6 0:float32 1:int8 channels | 4 0:float32 1:int8 | 3 0:int8
  1:int8 | 6 0:int8 1:int4 | 2 dilated
transpose_conv 4 activated | 3 inputs=4 | 2 1:int8
fully_connected 14 1:int2 | 13 0:int16 1:int4 | 8 sparse | 12 0:float32 1:int8 channels | 7
  0:int16 1:int16 | 6 inputs=2 | 5 keep_num_dims | 4 0:int8 1:int8 | 10 0:int8 1:int4 | 9
  0:float32 1:int8 asymmetric_quantize_inputs | 3 0:float32 1:int8
batch_matmul 3 0:int16 | 2 0:int8 | 4 0:float32 1:int8 asymmetric_quantize_inputs
embedding_lookup 4 1:int4 | 4 channels | 5 1:int2
average_pool_2d 3 0:int16 | 2 0:int8
max_pool_2d 3 0:int16 | 2 0:int8
softmax 3 0:float16 | 3 0:int16 | 2 0:int8
log_softmax 2 0:int8
logistic 3 0:int16 | 2 0:int8
tanh 3 0:int16 | 2 0:int8
relu 3 0:int16 | 2 0:int8,uint8
relu6 3 0:int16 | 2 0:int8
leaky_relu 2 0:int16
gelu 2 0:float16 | 2 0:int8,uint8
abs 3 0:int16,int32 | 2 0:int8,uint8
exp 2 0:int8,int16
log 2 0:int8,int16
sqrt 2 0:int8,int16
rsqrt 3 0:int16 | 2 0:int8
sign 2 0:int32
mean 3 0:int16 | 2 0:int8
sum 2 0:int8
reduce_max 3 0:int16 | 2 0:int8
reduce_min 3 0:int16 | 2 0:int8
reduce_prod 2 0:int8,int16
l2_normalization 2 0:int8
concatenation 6 0:float16 | 5 0:int4 | 4 0:uint32 | 3 0:int16 | 2 0:int8
pack 3 0:int16 | 4 0:uint32 | 2 0:int8
unpack 2 0:int8,uint8 | 3 0:bool | 4 0:int16 | 5 0:float16,bfloat16
split 4 1:int16 | 3 1:int32 | 2 1:int8
split_v 2 0:int8
slice 8 0:float16 | 7 0:int4 | 6 0:uint32 | 5 rank>4 | 4 0:int16 | 2 0:int8
strided_slice 8 offset | 4 0:uint32 | 4 ellipsis_mask | 4 new_axis_mask | 4 rank>4 | 3 0:bool | 2
  0:int8
transpose 8 0:float16 | 8 rank>6 | 8 0:bfloat16 | 7 0:int4 | 6 rank>5 | 5 0:int16 | 4 rank>4 | 3
  0:bool | 2 0:int8
tile 2 0:int8
reverse_v2 3 0:int8 | 2 0:bool
pad 5 0:bool | 4 rank>4 | 3 0:int16 | 2 0:int8
padv2 5 0:bool | 4 rank>4 | 3 0:int16 | 2 0:int8
mirror_pad 3 0:int16 | 2 0:int8
fill 4 1:float16 | 3 1:int8,int16 | 2 1:bool
broadcast_to 3 0:int8,int16 | 2 always
space_to_batch_nd 4 0:int16 | 3 rank!=4 | 2 0:int8
batch_to_space_nd 4 0:int16 | 3 rank!=4 | 2 0:int8
space_to_depth 2 0:int8
resize_bilinear 4 0:int16 | 3 half_pixel_centers | 2 0:int8
resize_nearest_neighbor 4 0:int16 | 3 half_pixel_centers | 3 align_corners | 2 0:int8
gather 7 0:int4 | 6 1:int16 | 5 batch_dims | 4 0:int16 | 3 0:bool | 2 0:int8
gather_nd 5 0:bool | 4 1:int16 | 3 0:int16
arg_max 2 0:bool,int8
arg_min 2 0:bool,int8
topk_v2 3 0:int16 | 2 0:int8
where 1 0:bool | 2 always
select 4 0:uint32 | 3 rank>4 | 2 0:int8
select_v2 2 0:uint32
equal 5 0:int16 | 2 0:int8
not_equal 4 0:int16 | 2 0:int8
less 3 0:int16 | 2 0:int8
less_equal 2 0:int8
greater 2 0:int8
greater_equal 3 0:int16 | 2 0:int8
sparse_to_dense 3 2:int8,uint8 | 2 2:int64
dynamic_update_slice 6 0:bfloat16 | 5 0:int4 | 4 0:int16 | 3 0:float16 | 2 2:int64
fake_quant 2 narrow_range
quantize 5 0:uint4 | 5 o:uint4 | 4 0:int4 | 4 o:int4 | 2 o:int16
dequantize 8 0:uint4 | 7 0:int2 | 6 0:int4 | 3 0:int16,float16 | 5 0:int8 channels | 2 0:int8
cast 8 0:int2,uint4 | 8 o:int2,uint4 | 7 0:bfloat16 | 7 o:bfloat16 | 6 0:int4 | 5
  0:float16,float64 | 5 o:float16,float64 | 4 0:uint16 | 4 o:uint16 | 3 0:int8 | 3 o:int8 | 2
  0:uint32 | 2 o:uint32
svdf 3 0:int8 | 4 0:float32 1:int8 asymmetric_quantize_inputs | 2 0:float32 1:int8
lstm 4 0:int16 2:int8 | 4 0:float32 2:int8 asymmetric_quantize_inputs | 3 0:float32 2:int8 | 2
  kernel_type=BASIC
unidirectional_sequence_lstm 3 0:int16 2:int8 | 3 diagonal_recurrent_tensors | 3 0:float32 2:int8
  asymmetric_quantize_inputs | 2 0:float32 2:int8
bidirectional_sequence_lstm 3 1:int8 asymmetric_quantize_inputs | 2 1:int8
rnn 3 1:int8 asymmetric_quantize_inputs | 2 1:int8
unidirectional_sequence_rnn 3 1:int8 asymmetric_quantize_inputs | 2 1:int8
bidirectional_sequence_rnn 3 1:int8 asymmetric_quantize_inputs | 2 1:int8
"""
"""Kind, then versions with their conditions; the first of which all hold decides, else it is version 1.
`0:int8` is the type of operand 0, `o:` of the first output; a word alone is an option that is set."""

WIDE = """
conv_2d 8
fully_connected 11
transpose_conv 5
"""
"""Versions of the kinds that say the type of their bias, int16 ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """An operator as it is written.

    Attributes:
        kind: of the operation.
        attributes: its options.
        inputs: tensors of the file; None where one is left out.
        outputs: likewise.
    """

    kind: str
    attributes: Mapping[str, Attribute]
    inputs: Sequence[Record | None]
    outputs: Sequence[Record]


def version_of(operator: Written) -> int:
    """The version that an operator needs."""
    wide = _table(WIDE).get(operator.kind)
    if wide and operator.attributes.get("quantized_bias_type", "FLOAT32") != "FLOAT32":
        return int(wide)
    for rule in _table(RULES).get(operator.kind, "").split(" | "):
        number, *conditions = rule.split() or ["1"]
        if all(_holds(condition, operator) for condition in conditions):
            return int(number)
    return 1


@cache
def _table(text: str) -> dict[str, str]:
    rows = text.replace("\n  ", " ").splitlines()
    return dict(row.split(" ", 1) for row in rows if row)


def _holds(condition: str, operator: Written) -> bool:
    place, colon, types = condition.partition(":")
    if colon:
        tensor = _first(operator) if place == "o" else _operand(operator, int(place))
        return tensor is not None and type_name(tensor).lower() in types.split(",")
    test = CONDITIONS.get(condition)
    if test is not None:
        return test(operator)
    name, equals, value = condition.partition("=")
    if name == "inputs":
        return sum(tensor is not None for tensor in operator.inputs) == int(value)
    found = operator.attributes.get(name)
    return found == value if equals else bool(found)


def _operand(operator: Written, index: int) -> Record | None:
    return operator.inputs[index] if index < len(operator.inputs) else None


def _first(operator: Written) -> Record | None:
    return operator.outputs[0] if operator.outputs else None


def _shapes(operator: Written) -> list[tuple[int, ...]]:
    return [tensor.integers("shape") for tensor in operator.inputs if tensor is not None]


def _rank(operator: Written) -> int:
    return max([0, *map(len, _shapes(operator))])


def _scales(tensor: Record | None) -> Sequence[float]:
    said = None if tensor is None else tensor.record("quantization")
    scale = None if said is None else said.array("scale")
    return () if scale is None else tuple(map(float, scale))


def _channels(operator: Written) -> bool:
    place = 0 if operator.kind == "dequantize" else 1
    return len(_scales(_operand(operator, place))) > 1


def _grouped(operator: Written) -> bool:
    shapes = [t.integers("shape") for t in operator.inputs[:2] if t is not None]
    return len(shapes) == 2 and bool(shapes[0]) and shapes[0][-1] != shapes[1][-1]


def _rescale(operator: Written) -> bool:
    scales = [_scales(t) for t in (*operator.inputs[:2], *operator.outputs[:1])]
    one = [s[0] for s in scales if s]
    return len(one) == 3 and one[0] * one[1] / one[2] >= 1.0


def _broadcast(operator: Written) -> bool:
    shapes = _shapes(operator)
    return len(shapes) > 1 and shapes[0] != shapes[1]


def _dilated(operator: Written) -> bool:
    return any(operator.attributes.get(f"dilation_{a}_factor", 1) != 1 for a in "hw")


def _sparse(operator: Written) -> bool:
    weights = _operand(operator, 1)
    return weights is not None and weights.record("sparsity") is not None


def _activated(operator: Written) -> bool:
    return operator.attributes.get("fused_activation_function", "NONE") != "NONE"


CONDITIONS: Mapping[str, Callable[[Written], bool]] = {
    "always": lambda _: True,
    "plain": lambda operator: not _scales(_operand(operator, 0)),
    "channels": _channels,
    "grouped": _grouped,
    "rescale": _rescale,
    "broadcast": _broadcast,
    "dilated": _dilated,
    "sparse": _sparse,
    "activated": _activated,
    "rank>4": lambda operator: _rank(operator) > 4,
    "rank>5": lambda operator: _rank(operator) > 5,
    "rank>6": lambda operator: _rank(operator) > 6,
    "rank!=4": lambda operator: len(_shapes(operator)[0]) != 4,
}
"""Conditions that are no type and no option."""
