"""Weights that a graph puts together of several, as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import attribute_of, is_op, is_weight, name_of
from w2e_bridge.graph.qdq_emit import repeated
from w2e_bridge.ir.encoding import FLOAT32, WHOLE, Encoding
from w2e_bridge.ir.parts import Parts
from w2e_bridge.ir.tensor import ComputedStorage, Tensor


def join_weights(editor: Editor) -> None:
    """Write a Concat of quantized weights as one weight.

    before: W = Concat(W0, W1, …) along the first axis: the gates of a recurrent layer.
    after:  W, their rows one after another, a scale for each.
    why exact: codes and scales are theirs; one scale for all rows is the same scale for each. TensorRT-RTX
        1.7.1 builds no engine of a product with a transposed Concat of what is dequantized.
    """
    for node in editor.nodes():
        if is_op(node, "Concat") and attribute_of(node, "axis") == 0:
            parts = [_rows(editor, value) for value in node.inputs]
            known = [tensor for tensor in parts if tensor is not None]
            if len(known) == len(parts) and len({_key(tensor) for tensor in known}) == 1:
                editor.put(node, _joined(name_of(node.outputs[0]), known))


def _rows(editor: Editor, value: ir.Value | None) -> Tensor | None:
    """A constant of symmetric codes with one scale, or one for each row."""
    tensor = editor.tensors.get(name_of(value)) if value is not None and is_weight(value) else None
    if tensor is None or len(tensor.shape) != 2 or tensor.encoding.scale != FLOAT32:
        return None
    said = tensor.encoding
    plain = Encoding(codes=said.codes, scale=FLOAT32, symmetric=said.symmetric)
    plain = replace(plain, block=said.block, narrow_range=said.narrow_range)
    columns = (said.block or (WHOLE,))[-1]
    return tensor if said == plain and columns in (WHOLE, tensor.columns) else None


def _key(tensor: Tensor) -> object:
    return str(tensor.encoding.codes), tensor.columns, tensor.dtype


def _joined(name: str, tensors: Sequence[Tensor]) -> Tensor:
    ends = list(accumulate(tensor.rows for tensor in tensors))

    def compute(start: int, stop: int) -> Parts:
        found = []
        for tensor, end in zip(tensors, ends, strict=True):
            first = end - tensor.rows
            low, high = max(start, first), min(stop, end)
            if low < high:
                parts = tensor.storage.parts(low - first, high - first)
                found.append(repeated(parts, high - low))
        scales = [part.scale for part in found if part.scale is not None]
        return Parts(
            codes=np.concatenate([part.codes for part in found]),
            scale=Parts(codes=np.concatenate([scale.codes for scale in scales])),
        )

    first = tensors[0]
    encoding = Encoding(codes=first.encoding.codes, scale=FLOAT32, block=(1, WHOLE))
    storage = ComputedStorage(compute=compute)
    return replace(
        first, name=name, shape=(ends[-1], first.columns), encoding=encoding, storage=storage
    )
