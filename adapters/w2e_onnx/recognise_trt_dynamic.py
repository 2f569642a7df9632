"""Values whose block scales TensorRT finds at run time, as dynamically quantized values; and weights likewise.

Operators: NVIDIA/Model-Optimizer modelopt/torch/quantization/export_onnx.py, `export_fp4` and `export_mxfp8`;
what becomes of weights there: modelopt/onnx/export/nvfp4_exporter.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import (
    Unrecognised,
    given,
    integer,
    is_op,
    name_of,
    needed,
)
from w2e_bridge.graph.qdq_parameters import DEQUANTIZE
from w2e_bridge.ir.activation import ActivationMode, ActivationQuantization, Granularity
from w2e_bridge.ir.codes import Float
from w2e_onnx.recognise_expansion import Expand, Expansion
from w2e_onnx.recognise_trt import DOMAIN, FP4, FP8, MX_BLOCK, NV_BLOCK
from w2e_onnx.recognise_trt_weights import fold_fp4

NV, MX, WEIGHT = "TRT_FP4DynamicQuantize", "TRT_MXFP8DynamicQuantize", "TRT_FP4QDQ"


@dataclass(slots=True, kw_only=True)
class Blocks:
    """Rewrites one model.

    Attributes:
        editor: the model.
        values: what stands for the rounded form of a value, and how it is rounded.
    """

    editor: Editor
    values: dict[ir.Value, ActivationQuantization] = field(default_factory=dict)

    def expander(self, node: ir.Node) -> Expand | None:
        """What writes out a node, None where it is none of these."""
        if node.domain == DOMAIN and node.op_type == WEIGHT:
            return fold_fp4
        if is_op(node, DEQUANTIZE) or (node.domain == DOMAIN and node.op_type.endswith(DEQUANTIZE)):
            maker = None if given(node, 0) is None else needed(node, 0).producer()
            if maker is not None and maker.domain == DOMAIN and maker.op_type in (NV, MX):
                return partial(self.rounded, maker)
        return None

    def rounded(self, maker: ir.Node, work: Expansion) -> None:
        """A value that is quantized and dequantized with scales of its own.

        before: DequantizeLinear(codes, DequantizeLinear(scales, factor)), both of TRT_FP4DynamicQuantize(x,
            factor); or TRT_MXFP8DequantizeLinear of both results of TRT_MXFP8DynamicQuantize(x).
        after:  Identity(x), dynamically quantized.
        why exact: it is what the operators are defined as.
        """
        node, x = work.node, needed(maker, 0)
        if len(maker.outputs) != 2 or needed(node, 0) is not maker.outputs[0]:
            raise Unrecognised("codes of something else")
        default = NV_BLOCK if maker.op_type == NV else MX_BLOCK
        axis, group = integer(maker, "axis", -1), integer(maker, "block_size", default)
        if (integer(node, "axis", -1), integer(node, "block_size", default)) != (axis, group):
            raise Unrecognised("blocks of something else")
        factor = self.factor(maker, node, work) if maker.op_type == NV else None
        codes = Float(name=FP4 if maker.op_type == NV else FP8)
        copy = work.add("Identity", [x])
        work.finish(copy)
        self.values[copy] = ActivationQuantization(
            codes=codes,
            mode=ActivationMode.DYNAMIC,
            granularity=Granularity.GROUP,
            axis=axis,
            group=group,
            second_level=factor,
        )
        if copy.dtype is None and x.dtype is not None:
            copy.type = ir.TensorType(x.dtype)

    def factor(self, maker: ir.Node, node: ir.Node, work: Expansion) -> float:
        """The one factor of all scales, which both nodes have to know."""
        if maker.op_type == MX:
            raise Unrecognised("no factor")
        scales = needed(node, 1).producer()
        if scales is None or not scales.op_type == DEQUANTIZE:
            raise Unrecognised("scales of something else")
        if needed(scales, 0) is not maker.outputs[1]:
            raise Unrecognised("scales of something else")
        said = [np.asarray(work.array(needed(n, 1)), np.float32) for n in (maker, scales)]
        if any(a.size != 1 for a in said) or said[0].reshape(()) != said[1].reshape(()):
            raise Unrecognised("two factors")
        return float(said[0].reshape(()))

    def finish(
        self, entries: dict[str, ActivationQuantization]
    ) -> dict[str, ActivationQuantization]:
        """Add the quantization of these values to that of others."""
        return entries | {
            name_of(value): p
            for value, p in self.values.items()
            if value.uses() or value.is_graph_output()
        }
