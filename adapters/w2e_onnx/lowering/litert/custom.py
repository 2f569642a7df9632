"""TFLite_Detection_PostProcess of uint8 codes: the kernel decodes them and goes on in floats.

tensorflow/lite/kernels/detection_postprocess.cc: (code - zero point) * scale in float32, as
DequantizeLinear computes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import onnx_ir as ir

from w2e_bridge.kernels.custom import KIND
from w2e_onnx.lowering.litert.call import Call
from w2e_onnx.lowering.litert.fallback import plain
from w2e_onnx.lowering.litert.rules import NotHere, Rule


def detections(call: Call) -> Sequence[ir.Value]:
    """The rule."""
    if any(slot.quantized is not None for slot in call.outputs):
        raise NotHere("detections as codes")
    for slot in call.operands:
        if slot is not None and slot.quantized is not None and slot.type != "uint8":
            raise NotHere(f"codes of {slot.type}")
    return plain(call)


RULES: Mapping[str, Rule] = {KIND: detections}
