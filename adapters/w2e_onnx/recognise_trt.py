"""TensorRT's own operators for quantization, one row each, written out as the standard ones that they mean.

Domain `trt`, as NVIDIA's exporters write it: NVIDIA/Model-Optimizer modelopt/torch/quantization/export_onnx.py
and modelopt/onnx/export; what the operators are: onnx/onnx-tensorrt docs/operators.md. What is computed at
run time (`recognise_trt_dynamic`) has no standard operator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import onnx_ir as ir

from w2e_bridge.graph.inspecting import Unrecognised, given, is_weight, needed
from w2e_bridge.graph.planes import plain_storage
from w2e_bridge.graph.qdq_parameters import DEQUANTIZE, QUANTIZE
from w2e_bridge.graph.qdq_weights import matrix_of
from w2e_bridge.graph.weights import DTYPES
from w2e_bridge.ir.plain import PLAIN
from w2e_bridge.ir.tensor import Tensor
from w2e_onnx.recognise_expansion import Expand, Expansion
from w2e_onnx.recognise_operators_table import kept

DOMAIN = "trt"
FP8, FP4, E8M0 = "float8_e4m3fn", "float4_e2m1fn", "float8_e8m0fnu"
MX_BLOCK, NV_BLOCK = 32, 16

WORDS = ("axis", "block_size", "output_dtype", "saturate")
"""Attributes that the standard operators have too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An operator of the domain.

    Attributes:
        op: the standard one.
        codes: type of its codes; "" where the constants say it.
        scales: type that the bytes of its scales are; "" = they are numbers.
        block: extent of a block where the node doesn't say it.
    """

    op: str
    codes: str = ""
    scales: str = ""
    block: int = 0


ROWS: Mapping[str, Row] = {
    QUANTIZE: Row(op=QUANTIZE),
    DEQUANTIZE: Row(op=DEQUANTIZE),
    "TRT_INT8QuantizeLinear": Row(op=QUANTIZE, codes="int8"),
    "TRT_INT8DequantizeLinear": Row(op=DEQUANTIZE, codes="int8"),
    "TRT_INT4QuantizeLinear": Row(op=QUANTIZE, codes="int4"),
    "TRT_INT4DequantizeLinear": Row(op=DEQUANTIZE, codes="int4"),
    "TRT_FP8QuantizeLinear": Row(op=QUANTIZE, codes=FP8),
    "TRT_FP8DequantizeLinear": Row(op=DEQUANTIZE, codes=FP8),
    "TRT_MXFP8QuantizeLinear": Row(op=QUANTIZE, codes=FP8, scales=E8M0, block=MX_BLOCK),
    "TRT_MXFP8DequantizeLinear": Row(op=DEQUANTIZE, codes=FP8, scales=E8M0, block=MX_BLOCK),
}


def expander(node: ir.Node) -> Expand | None:
    """What writes out a node, None where it is none of these operators."""
    row = ROWS.get(node.op_type) if node.domain == DOMAIN else None
    return None if row is None else partial(_expand, row)


def _expand(row: Row, work: Expansion) -> None:
    """The same with the standard operator.

    before: trt::TRT_FP8DequantizeLinear(codes, scale), or its kin.
    after:  DequantizeLinear(codes, scale), which says the type of its codes and the size of its blocks.
    why exact: it is what the operator is defined as.
    """
    node = work.node
    attributes = kept(node, WORDS)
    if row.block:
        attributes = {"axis": -1, "block_size": row.block, **attributes}
    inputs = [needed(node, 0), needed(node, 1), given(node, 2)]
    if row.scales:
        inputs[1] = _as_type(work, needed(node, 1), row.scales)
    if row.op == QUANTIZE:
        said = row.codes and int(DTYPES[row.codes])
        attributes = {**attributes, "output_dtype": said} if said else attributes
    elif row.codes and _known(work, inputs[0]) not in (None, row.codes):
        raise Unrecognised("codes of another type than the operator's")
    while inputs[-1] is None:
        inputs.pop()
    result = work.add(row.op, inputs, attributes)
    work.finish(result)
    if row.op == QUANTIZE and row.codes:  # exporters call them bytes
        result.type = ir.TensorType(DTYPES[row.codes])


def _known(work: Expansion, value: ir.Value | None) -> str | None:
    """The type of constant codes; what others are is known where they are made."""
    return work.editor.constant(value).dtype if is_weight(value) else None


def _as_type(work: Expansion, value: ir.Value, dtype: str) -> ir.Value:
    """Constant bytes as the numbers that their bits are."""
    tensor = work.editor.constant(value)
    if tensor.dtype == dtype:
        return value
    if tensor.dtype != "uint8" or tensor.encoding.quantized:
        raise Unrecognised("scales that are no bytes")
    return work.tensor(reinterpreted(tensor, dtype))


def reinterpreted(tensor: Tensor, dtype: str) -> Tensor:
    """A tensor of bytes as numbers of a type of one byte."""
    source = matrix_of(tensor, tensor.columns).source
    storage = plain_storage(source, dtype, tensor.shape)
    return replace(tensor, dtype=dtype, encoding=PLAIN[dtype], storage=storage)
