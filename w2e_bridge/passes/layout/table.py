"""The operators that follow a permutation, and those that are bound to a layout: a row each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from w2e_bridge.graph.inspecting import STANDARD
from w2e_bridge.passes.layout import reshaping, rules
from w2e_bridge.passes.layout.permutations import Perm
from w2e_bridge.passes.layout.rules import Carry, Change, Remap
from w2e_bridge.passes.layout.site import Site


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """How an operator follows.

    Attributes:
        data: inputs with the axes of the first; None: all of the output's rank, the others broadcast.
        outward: the outputs' permutation from the input's.
        inward: the reverse.
        remap: what of the node changes.
        bare: the outputs have no axes that could be permuted.
    """

    data: tuple[int, ...] | None = (0,)
    outward: Carry = rules.same
    inward: Carry = rules.same
    remap: Remap = rules.unchanged
    bare: bool = False

    def slots(self, site: Site) -> tuple[int, ...]:
        """The inputs that are permuted with the node."""
        if self.data is not None:
            return tuple(slot for slot in self.data if site.input(slot) is not None)
        rank = site.output_rank
        return tuple(i for i in range(len(site.node.inputs)) if site.rank(i) == rank)


def _never(site: Site, perm: Perm) -> Perm | None:
    del site, perm
    return None


def _each(row: Row, names: str) -> dict[str, Row]:
    return dict.fromkeys(names.split(), row)


_REDUCE = Row(outward=rules.reduce_outward, inward=rules.reduce_inward, remap=rules.reduce_remap)
_ARG = Row(outward=rules.arg_outward, inward=rules.arg_inward, remap=rules.axis(0))
_NORM = Row(outward=rules.normalization_outward, inward=rules.normalization_outward)

ROWS: Mapping[str, Row] = {
    **_each(
        Row(),
        "Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Cast CastLike Ceil Celu Clip Cos Cosh Dropout "
        "Elu Erf Exp Floor Gelu HardSigmoid HardSwish Identity IsInf IsNaN LeakyRelu Log Mish Neg Not "
        "Reciprocal Relu Round Selu Shrink Sigmoid Sign Sin Sinh Softplus Softsign Sqrt Swish Tan Tanh "
        "ThresholdedRelu",
    ),
    **_each(
        Row(data=None),
        "Add And BitShift BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less "
        "LessOrEqual Max Mean Min Mod Mul Or PRelu Pow Sub Sum Where Xor",
    ),
    **_each(
        _REDUCE,
        "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd "
        "ReduceSum ReduceSumSquare",
    ),
    **_each(_ARG, "ArgMax ArgMin"),
    **_each(Row(remap=rules.axis_since_13), "Softmax LogSoftmax Hardmax"),
    **_each(_NORM, "LayerNormalization RMSNormalization"),
    **_each(Row(remap=rules.scale_axis), "QuantizeLinear DequantizeLinear"),
    **_each(Row(remap=rules.listed_by_axis), "Tile Expand"),
    **_each(Row(data=(0, 1), remap=rules.axis(0)), "GatherElements"),
    **_each(Row(data=(0, 1, 2), remap=rules.axis(0)), "ScatterElements"),
    "Concat": Row(data=None, remap=rules.axis(None)),
    "CumSum": Row(remap=rules.axis_input(1)),
    "Gather": Row(outward=rules.gather_outward, inward=rules.gather_inward, remap=rules.axis(0)),
    "LpNormalization": Row(remap=rules.last_axis),
    "MatMul": Row(outward=rules.matmul_outward, inward=rules.matmul_outward),
    "Pad": Row(remap=rules.pad_remap),
    "Reshape": Row(
        outward=reshaping.reshape_outward,
        inward=reshaping.reshape_inward,
        remap=reshaping.reshape_remap,
    ),
    "Shape": Row(inward=_never, remap=rules.shape_remap, bare=True),
    "Size": Row(inward=_never, bare=True),
    "Slice": Row(remap=rules.slice_remap),
    "Split": Row(remap=rules.axis(0)),
    "Squeeze": Row(
        outward=rules.squeeze_outward, inward=rules.squeeze_inward, remap=rules.squeeze_remap
    ),
    "TopK": Row(remap=rules.last_axis),
    "Unsqueeze": Row(
        outward=rules.unsqueeze_outward,
        inward=rules.unsqueeze_inward,
        remap=rules.unsqueeze_remap,
    ),
    **_each(Row(data=None), "w2e::Atan2 w2e::FloorMod w2e::RightShift"),
    "w2e::FakeQuant": Row(),
    "w2e::ScaledSoftmax": Row(outward=rules.last_stays, inward=rules.last_stays),
}
"""Operators that follow, by name; functions with their domain."""

BOUND: Mapping[str, tuple[int, ...]] = {
    **dict.fromkeys(("AveragePool", "LpPool", "MaxPool"), (0,)),
    **dict.fromkeys(("GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool"), (0,)),
    **dict.fromkeys(("Conv", "ConvInteger", "ConvTranspose", "QLinearConv"), (0,)),
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth", "Resize", "Upsample"), (0,)),
    **dict.fromkeys(("BatchNormalization", "GroupNormalization", "InstanceNormalization"), (0,)),
    "LRN": (0,),
}
"""Operators that want channels first, and the inputs that they want it of; so is their output."""


def row_of(site: Site) -> Row | None:
    """The row of a node that may follow."""
    node = site.node
    standard = node.domain in STANDARD
    return ROWS.get(node.op_type if standard else f"{node.domain}::{node.op_type}")


def bound(site: Site) -> tuple[int, ...]:
    """The inputs that a node wants channels first of; none where it isn't bound."""
    node, rank = site.node, site.rank(0)
    slots = BOUND.get(node.op_type, ()) if node.domain in STANDARD else ()
    if not slots or rank is None or not 3 <= rank <= 5:
        return ()
    others = any(output.uses() or output.is_graph_output() for output in node.outputs[1:])
    return () if others else slots


def change(row: Row, site: Site, before: Perm, after: Perm) -> Change | None:
    """What becomes of a node that follows."""
    return row.remap(site, before, after)
