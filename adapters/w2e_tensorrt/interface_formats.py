"""Layouts of public values in the terms of a release: 10 says type and layout ("fp32:chw"), 11 the layout alone.

Grammar: NVIDIA/TensorRT samples/common/sampleOptions.cpp (`stringToValue<IOFormat>`), releases 10.16 and 11.1. One
item stands for all values, else there is one for each, in their order.
"""

from __future__ import annotations

import onnx_ir as ir

from w2e_tensorrt.hints.flags import Flag
from w2e_tensorrt.hints.options import UNSUPPORTED, Choice

TYPES = {
    ir.DataType.FLOAT: "fp32", ir.DataType.FLOAT16: "fp16", ir.DataType.BFLOAT16: "bf16",
    ir.DataType.INT32: "int32", ir.DataType.INT64: "int64", ir.DataType.INT8: "int8",
    ir.DataType.UINT8: "uint8", ir.DataType.BOOL: "bool",
}  # fmt: skip

LAYOUTS = frozenset(
    {"chw", "chw2", "chw4", "hwc8", "chw16", "chw32", "dhwc8", "cdhw32", "hwc", "dhwc",
     "dla_linear", "hwc16", "dla_hwc4"}
)  # fmt: skip


def formats(flag: Flag, value: object, values: list[ir.Value], release: int) -> Choice:
    """Layouts, if the graph's values are of the types that go with them.

    Args:
        flag: the option.
        value: the hint.
        values: the graph's inputs or outputs.
        release: of TensorRT.
    """
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, list | tuple) or not all(isinstance(w, str) for w in words):
        return UNSUPPORTED
    if len(words) not in (1, len(values)) or not values:
        return UNSUPPORTED
    said = []
    for word, public in zip(words * len(values) if len(words) == 1 else words, values, strict=True):
        kind, _, layout = word.rpartition(":")
        there = TYPES.get(public.dtype) if public.dtype is not None else None
        if not set(layout.split("+")) <= LAYOUTS or kind not in ("", there) or there is None:
            return UNSUPPORTED
        said.append(layout if release > 10 else f"{there}:{layout}")
    said = said[:1] if len(set(said)) == 1 and len(words) == 1 else said
    return Choice(value=said, arguments=(f"{flag.name}={','.join(said)}",), effect="applied")
