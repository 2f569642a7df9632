"""Values whose codes are small floats, and values whose scales are found at run time.

`placement` decides where a value's quantization is worth keeping and speaks of int8. Float8 stays as it is,
since TensorRT has it; blocks with scales of their own are quantized by operators of its domain:
NVIDIA/Model-Optimizer modelopt/torch/quantization/export_onnx.py, `export_fp4` and `export_mxfp8`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import is_op, name_of
from w2e_bridge.graph.qdq_parameters import insert_after, small
from w2e_bridge.graph.qdq_values import values_of
from w2e_bridge.graph.weights import DTYPES
from w2e_bridge.ir.activation import ActivationMode, ActivationQuantization, Granularity
from w2e_bridge.ir.parts import AnyArray
from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.loss import Grade, TensorLoss
from w2e_tensorrt.forms import FP4, FP8, MX_BLOCK, NV_BLOCK
from w2e_tensorrt.lowering.placement import Placement

DOMAIN = "trt"
DEVICES = "float4 codes: an engine is built for compute capability 12 and newer only"
Values = Mapping[str, ActivationQuantization]


@dataclass(slots=True, kw_only=True)
class Narrow:
    """The values of a graph that are no matter of int8.

    Attributes:
        floats: float8 with a scale for the whole value.
        blocks: scales for each block, found at run time.
        others: the rest.
        kept: names of `blocks` that stay quantized.
    """

    floats: Values
    blocks: Values
    others: Values
    kept: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, values: Values) -> Narrow:
        """Sort the values of a source."""
        floats = {name: p for name, p in values.items() if _static(p)}
        blocks = {name: p for name, p in values.items() if _blocked(p)}
        known = floats.keys() | blocks.keys()
        others = {name: p for name, p in values.items() if name not in known}
        return cls(floats=floats, blocks=blocks, others=others)

    def place(self, placement: Placement, model: ir.Model) -> None:
        """Decide where they stay, as for any other value; then give all scales the types of their values."""
        there = {name_of(value): value for value in values_of(model)}
        placement.values = {**placement.values, **self.floats, **self.blocks}
        for name, p in {**self.floats, **self.blocks}.items():
            value = there.get(name)
            if value is None:
                continue
            problem = _problem(placement, value)
            placement.losses.append(_row(name, p, problem))
            if problem:
                continue
            if name in self.floats:
                placement.kept[name] = p
            else:
                self.kept.append(name)
        for name, p in placement.kept.items():
            own = self.others.get(name)
            if own is not None and own.scale is not None:
                placement.kept[name] = _as_type(p, own.scale.dtype)

    def conditions(self, tensors: Iterable[Tensor]) -> tuple[str, ...]:
        """What engines of these constants and values depend on."""
        narrow = any(tensor.dtype == str(FP4) for tensor in tensors)
        dynamic = any(self.blocks[name].codes == FP4 for name in self.kept)
        return (DEVICES,) if narrow or dynamic else ()

    def write(self, editor: Editor) -> None:
        """Write the nodes of the values whose scales are found at run time.

        before: y, dynamically quantized in blocks.
        after:  y = trt::TRT_MXFP8DequantizeLinear(trt::TRT_MXFP8DynamicQuantize(y.unquantized)); of float4
            DequantizeLinear(codes, DequantizeLinear(scales, factor)) of trt::TRT_FP4DynamicQuantize.
        why exact: it is what the operators are defined as.
        """
        there = {name_of(value): value for value in values_of(editor.model)}
        for name in self.kept:
            if name in there:
                _write(there[name], self.blocks[name], editor)


def _static(p: ActivationQuantization) -> bool:
    if p.mode is not ActivationMode.STATIC or p.scale is None or p.codes != FP8:
        return False
    whole = p.granularity is Granularity.TENSOR and p.zero_point is None
    return whole and bool((p.scale > 0).all()) and bool(np.isfinite(p.scale).all())


def _blocked(p: ActivationQuantization) -> bool:
    if p.mode is not ActivationMode.DYNAMIC or p.granularity is not Granularity.GROUP:
        return False
    if p.codes == FP4:
        return p.group == NV_BLOCK and p.second_level is not None and p.second_level > 0
    return p.codes == FP8 and p.group == MX_BLOCK and p.second_level is None


def _problem(placement: Placement, value: ir.Value) -> str:
    """Why a value is better left alone; what reads it in another float type counts as its reader."""
    casts = [user.outputs[0] for user, _ in value.uses() if is_op(user, "Cast")]
    problems = [placement.problem(one) for one in (value, *casts)]
    return "" if "" in problems else problems[0]


def _row(name: str, p: ActivationQuantization, problem: str) -> TensorLoss:
    said = f"{p.codes}" if p.mode is ActivationMode.STATIC else f"dynamic {p.codes}"
    return TensorLoss(
        name=name,
        source_encoding=said,
        encoding="float32" if problem else said,
        grade=Grade.FLOAT if problem else Grade.EXACT,
        reason=problem,
    )


def _as_type(p: ActivationQuantization, dtype: np.dtype[np.generic]) -> ActivationQuantization:
    """A scale in the type of the values that it is for, not below what it was."""
    if p.scale is None or p.scale.dtype == dtype:
        return p
    made: AnyArray = p.scale.astype(dtype)
    if (made.astype(np.float32) < p.scale.astype(np.float32)).any():
        made = np.nextafter(made, np.asarray(np.inf, dtype))
    return replace(p, scale=made)


def _write(value: ir.Value, p: ActivationQuantization, editor: Editor) -> None:
    graph, name = value.graph, name_of(value)
    assert isinstance(graph, ir.Graph)
    readers, public = list(value.uses()), value.is_graph_output()
    maker = value.producer()
    copied = maker is not None and is_op(maker, "Identity") and not public
    source = maker.inputs[0] if copied and maker is not None else value
    assert source is not None
    nodes = list(_nodes(source, p, editor, graph))
    result = nodes[-1].outputs[0]
    result.type, result.shape = value.type, value.shape
    insert_after(graph, value, nodes)
    for user, index in readers:
        user.replace_input_with(index, result)
    for node in nodes:
        for number, output in enumerate(node.outputs):
            output.name = output.name or editor.free(f"{name}.{node.op_type}.{number}")
    if copied and maker is not None:
        editor.drop([maker])
        result.name = name


def _nodes(
    source: ir.Value, p: ActivationQuantization, editor: Editor, graph: ir.Graph
) -> Iterator[ir.Node]:
    """Quantize and dequantize; the last node gives the rounded value."""
    blocks = {"axis": -1 if p.axis is None else p.axis, "block_size": p.group}
    codes_of_8 = int(DTYPES[str(FP8)])
    if p.codes == FP8:
        said = {**blocks, "output_dtype": codes_of_8}
        made = _node("TRT_MXFP8DynamicQuantize", [source], said, outputs=2)
        yield made
        real = int(source.dtype or ir.DataType.FLOAT)
        yield _node(
            "TRT_MXFP8DequantizeLinear", list(made.outputs), {**blocks, "output_dtype": real}
        )
        return
    array = np.asarray(p.second_level, np.float32)
    factor = editor.register(graph, small(f"{name_of(source)}.factor", array, "float32"))
    said = {**blocks, "scale_type": codes_of_8}
    made = _node("TRT_FP4DynamicQuantize", [source, factor], said, outputs=2)
    yield made
    scales = ir.node("DequantizeLinear", [made.outputs[1], factor])
    yield scales
    yield ir.node("DequantizeLinear", [made.outputs[0], scales.outputs[0]], blocks)


def _node(
    op: str, inputs: list[ir.Value], attributes: Mapping[str, int | None], outputs: int = 1
) -> ir.Node:
    return ir.node(op, inputs, attributes, domain=DOMAIN, num_outputs=outputs)
