"""Shapes and parts of quantized tensors: nothing is computed, codes keep their values."""

from __future__ import annotations

from collections.abc import Mapping

from w2e_onnx.lowering.litert.moving import moves
from w2e_onnx.lowering.litert.rules import Rule

RULES: Mapping[str, Rule] = {
    name: moves()
    for name in (
        "reshape",
        "squeeze",
        "expand_dims",
        "transpose",
        "broadcast_to",
        "fill",
        "tile",
        "shape",
        "rank",
        "slice",
        "strided_slice",
        "reverse_v2",
        "split",
        "split_v",
        "unpack",
        "reverse_sequence",
        "dynamic_update_slice",
    )
}
