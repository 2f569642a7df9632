"""Weights that an exporter means to be NVFP4 and still keeps as floats: `trt::TRT_FP4QDQ`.

Numbers: NVIDIA/Model-Optimizer modelopt/onnx/quantization/quant_utils.py, `get_weights_scaling_factor_2`,
`get_weights_scaling_factor`, `quantize`, and modelopt/onnx/export/nvfp4_exporter.py, which its exporter would
have written: a factor of amax / (6 · 448) for the tensor, a scale of amax / (6 · factor) for each block,
codes of the weight over the unrounded scale and the factor.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from w2e_bridge.graph.inspecting import Unrecognised, integer, needed
from w2e_bridge.ir.codes import Float
from w2e_bridge.ir.encoding import FLOAT32, WHOLE, Encoding
from w2e_bridge.ir.parts import AnyArray, Parts
from w2e_bridge.ir.plain import PLAIN, numpy_type
from w2e_bridge.ir.tensor import ComputedStorage, Tensor
from w2e_onnx.recognise_expansion import Expansion
from w2e_onnx.recognise_trt import FP4, FP8, NV_BLOCK

CODES, SCALES = Float(name=FP4), Float(name=FP8)
ENDS = np.float32(CODES.high * SCALES.high)


@dataclass(frozen=True, kw_only=True, eq=False)
class Rounding:
    """A float matrix in NVFP4.

    Attributes:
        tensor: the floats.
        block: columns of a block.
    """

    tensor: Tensor
    block: int

    @cached_property
    def factor(self) -> np.float32:
        """Of all scales; reads the whole tensor once."""
        rows = (np.abs(self.tensor.decode_rows(*span)) for span in self.tensor.spans())
        largest = np.float32(max((row.max(initial=0) for row in rows), default=0))
        return np.float32(largest / ENDS) or np.float32(1)

    def compute(self, start: int, stop: int) -> Parts:
        """Codes and both levels of scales of rows [start, stop)."""
        values = self.tensor.decode_rows(start, stop)
        blocks = values.reshape(values.shape[0], -1, self.block)
        scale = np.abs(blocks).max(axis=2) / (np.float32(CODES.high) * self.factor)
        scale[scale == 0] = 1
        steps = blocks / (scale[..., None] * self.factor)
        factor = Parts(codes=np.full((1, 1), self.factor, np.float32))
        return Parts(
            codes=_narrow(steps.reshape(values.shape), CODES),
            scale=Parts(codes=_narrow(scale, SCALES), scale=factor),
        )


def _narrow(numbers: NDArray[np.float32], kind: Float) -> AnyArray:
    return np.clip(numbers, -kind.high, kind.high).astype(numpy_type(PLAIN[str(kind)]))


def fold_fp4(work: Expansion) -> None:
    """Make a tensor of a float weight that is to be NVFP4.

    before: trt::TRT_FP4QDQ(W: float).
    after:  W, codes of E2M1 with scales of E4M3 under one factor, made when they are read.
    why exact: those are the numbers of the exporter that knows the operator.
    """
    node = work.node
    tensor, block = work.editor.constant(needed(node, 0)), integer(node, "block_size", NV_BLOCK)
    plain = tensor.encoding.plain and isinstance(tensor.encoding.codes, Float)
    if not plain or len(tensor.shape) != 2 or block < 1 or tensor.columns % block:
        raise Unrecognised("no float matrix of whole blocks")
    if not isinstance(node.graph, ir.Graph):
        raise Unrecognised("inside a function")
    levels = Encoding(codes=SCALES, block=(WHOLE, WHOLE), scale=FLOAT32)
    encoding = Encoding(codes=CODES, block=(block,), scale=levels)
    made = Rounding(tensor=tensor, block=block)
    work.editor.put(
        node, replace(tensor, encoding=encoding, storage=ComputedStorage(compute=made.compute))
    )
