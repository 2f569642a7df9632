"""Scales that are powers of two, as TensorRT reads them: bytes, under an operator of its own.

NVIDIA/Model-Optimizer modelopt/onnx/export/mxfp8_exporter.py: `trt::TRT_MXFP8DequantizeLinear` of float8 codes
and E8M0 scales held as uint8 (its parser takes no initializer of the type itself: TensorRT-RTX 1.7.1).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import given, is_op, is_weight, name_of
from w2e_bridge.graph.qdq_emit import E8M0
from w2e_bridge.ir.parts import Parts
from w2e_bridge.ir.plain import PLAIN
from w2e_bridge.ir.tensor import ComputedStorage, Tensor

DOMAIN, OPERATOR = "trt", "TRT_MXFP8DequantizeLinear"


def byte_scales(editor: Editor) -> None:
    """Give every dequantization with E8M0 scales the operator that TensorRT has for it.

    before: DequantizeLinear(codes, scales of E8M0, block_size=32, output_dtype).
    after:  trt::TRT_MXFP8DequantizeLinear(codes, scales as bytes), with the same attributes.
    why exact: the bytes are the same.
    """
    for node in editor.nodes():
        value = given(node, 1)
        if not is_op(node, "DequantizeLinear") or value is None or not is_weight(value):
            continue
        tensor, graph = editor.tensors[name_of(value)], value.graph
        if tensor.dtype != E8M0 or not isinstance(graph, ir.Graph):
            continue
        readers = list(value.uses())
        del graph.initializers[name_of(value)], editor.tensors[tensor.name]
        editor.taken.discard(tensor.name)
        stub = editor.register(graph, as_bytes(tensor))
        for user, index in readers:
            user.replace_input_with(index, stub)
            user.domain, user.op_type = DOMAIN, OPERATOR


def as_bytes(tensor: Tensor) -> Tensor:
    """The bits of E8M0 numbers as uint8."""
    whole = tensor.storage

    def compute(start: int, stop: int) -> Parts:
        codes = np.ascontiguousarray(whole.parts(start, stop).codes)
        return Parts(codes=codes.view(np.uint8))

    storage = ComputedStorage(compute=compute)
    return replace(tensor, dtype="uint8", encoding=PLAIN["uint8"], storage=storage)
