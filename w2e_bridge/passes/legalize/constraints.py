"""What LiteRT's integer kernels ask of the quantization of their operands: a row for each kind.

Sources: the `Prepare` functions of tensorflow/lite/kernels (softmax.cc, activations.cc, concatenation.cc,
pooling.cc, …) and probing LiteRT 2.3 with both of its kernel sets. Where kernels do not check
(AVERAGE_POOL_2D, RESHAPE and MAXIMUM with unlike quantization give wrong numbers and no error), the row
says what makes the numbers right. A kind that has no row computes with real numbers only.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace


class Rule(enum.Enum):
    """How the quantization of outputs and inputs go together.

    FREE: each has its own.
    MOVE: the same, and codes are only moved or chosen, so that rounding before and after is equal.
    JOIN: likewise of several inputs.
    SAME: the same, but numbers are computed.
    FIXED: the output's is the kernel's.
    WEIGHTS: each has its own; weights are symmetric, the bias has the product of two scales.
    PLACES: the outputs are no quantized numbers.
    """

    FREE = "free"
    MOVE = "move"
    JOIN = "join"
    SAME = "same"
    FIXED = "fixed"
    WEIGHTS = "weights"
    PLACES = "places"


Parameters = tuple[float, int]
"""Scale and zero point."""

BYTES = ("int8", "uint8")
ALL = ("int8", "uint8", "int16")
SIGNED = ("int8", "int16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """A row.

    Attributes:
        rule: how quantizations go together.
        types: codes of its kernels.
        data: operands that are numbers; None = all of them.
        fixed: of FIXED: codes to the output's parameters.
        weights: of WEIGHTS: the operand.
        bias: of WEIGHTS: the operand.
        axis: of WEIGHTS: the axis along which scales may differ.
        centred: its zeros are codes of 0, so that zero points must be 0.
        widens: of SAME: whether its kernel of 16 bits computes as well as that of 8 does.
        bounded: of FIXED: whether the kernel's quantization holds all results.
    """

    rule: Rule
    types: tuple[str, ...] = ALL
    data: tuple[int, ...] | None = (0,)
    fixed: Mapping[str, Parameters] = field(default_factory=dict)
    weights: int | None = None
    bias: int | None = None
    axis: int = 0
    centred: bool = False
    bounded: bool = True
    widens: bool = False


def _each(row: Constraint, kinds: str) -> dict[str, Constraint]:
    return dict.fromkeys(kinds.split(), row)


def _fixed(**parameters: Parameters) -> Constraint:
    return Constraint(rule=Rule.FIXED, types=tuple(parameters), fixed=parameters)


_UNIT: Parameters = (1 / 256, -128)
_UNIT_UNSIGNED: Parameters = (1 / 256, 0)
_WIDE: Parameters = (1 / 32768, 0)

CONSTRAINTS: Mapping[str, Constraint] = {
    "conv_2d": Constraint(rule=Rule.WEIGHTS, weights=1, bias=2),
    "depthwise_conv_2d": Constraint(rule=Rule.WEIGHTS, weights=1, bias=2, axis=3),
    "fully_connected": Constraint(rule=Rule.WEIGHTS, weights=1, bias=2),
    "transpose_conv": Constraint(rule=Rule.WEIGHTS, data=(2,), weights=1, bias=3),
    "batch_matmul": Constraint(rule=Rule.FREE, types=SIGNED, data=(0, 1)),
    **_each(Constraint(rule=Rule.FREE, data=(0, 1)), "add sub mul"),
    # No div: its kernels stop at a code of 0 (tensorflow/lite/kernels/div.cc), which real numbers don't.
    "prelu": Constraint(rule=Rule.FREE, types=BYTES, data=(0, 1)),
    "squared_difference": Constraint(rule=Rule.FREE, types=("int8",), data=(0, 1)),
    "reduce_prod": Constraint(rule=Rule.FREE, types=SIGNED),
    **_each(Constraint(rule=Rule.FREE), "relu relu6 leaky_relu mean sum gelu"),
    **_each(Constraint(rule=Rule.FREE, types=BYTES), "hard_swish relu_n1_to_1 relu_0_to_1"),
    **_each(Constraint(rule=Rule.FREE, types=("int8",)), "elu"),
    **_each(Constraint(rule=Rule.FREE, types=SIGNED), "exp log sqrt rsqrt abs"),
    "softmax": _fixed(int8=_UNIT, uint8=_UNIT_UNSIGNED, int16=_WIDE),
    "logistic": _fixed(int8=_UNIT, uint8=_UNIT_UNSIGNED, int16=_WIDE),
    "tanh": _fixed(int8=(1 / 128, 0), uint8=(1 / 128, 128), int16=_WIDE),
    "log_softmax": replace(_fixed(int8=(16 / 256, 127), uint8=(16 / 256, 255)), bounded=False),
    "l2_normalization": _fixed(int8=(1 / 128, 0), uint8=(1 / 128, 128)),
    **_each(
        Constraint(rule=Rule.MOVE),
        "reshape squeeze expand_dims transpose pad slice strided_slice gather split_v unpack "
        "space_to_batch_nd batch_to_space_nd max_pool_2d reduce_max reduce_min mirror_pad "
        "resize_nearest_neighbor reverse_v2 broadcast_to tile gather_nd",
    ),
    **_each(Constraint(rule=Rule.MOVE, types=BYTES), "depth_to_space space_to_depth topk_v2"),
    "split": Constraint(rule=Rule.MOVE, data=(1,)),
    **_each(Constraint(rule=Rule.JOIN, data=None), "concatenation pack maximum minimum"),
    "select_v2": Constraint(rule=Rule.JOIN, data=(1, 2)),
    "dynamic_update_slice": Constraint(rule=Rule.JOIN, data=(0, 1)),
    "padv2": Constraint(rule=Rule.JOIN, data=(0, 2)),
    "matrix_set_diag": Constraint(rule=Rule.JOIN, data=(0, 1)),
    "one_hot": Constraint(rule=Rule.JOIN, types=BYTES, data=(2, 3)),
    "reverse_sequence": Constraint(rule=Rule.MOVE, types=("uint8", "int16")),
    "matrix_diag": Constraint(rule=Rule.MOVE, centred=True),
    "fill": Constraint(rule=Rule.MOVE, data=(1,)),
    "scatter_nd": Constraint(rule=Rule.MOVE, types=BYTES, data=(1,), centred=True),
    "average_pool_2d": Constraint(rule=Rule.SAME, widens=True),
    # Its kernel of 16 bits knows places to 1 / 1024 of the image only (reference_ops::ResizeBilinearInteger).
    "resize_bilinear": Constraint(rule=Rule.SAME),
    **_each(
        Constraint(rule=Rule.PLACES, data=(0, 1)),
        "equal not_equal less less_equal greater greater_equal",
    ),
    **_each(Constraint(rule=Rule.PLACES, types=BYTES), "arg_max arg_min"),
    **_each(Constraint(rule=Rule.PLACES, data=()), "shape rank"),
}
"""Kinds with integer kernels."""

FIXED_VALUES = frozenset(
    {"if", "while", "svdf", "rnn", "lstm", "embedding_lookup"}
    | {f"{way}directional_sequence_{cell}" for way in ("uni", "bi") for cell in ("lstm", "rnn")}
)
"""Kinds whose bodies are graphs of their own, or that have a quantization for each of their parts: what
they read and make stays as it is."""

CHANGES = frozenset({"quantize", "dequantize"})
"""Kinds that are there to change the quantization."""

LITERT = frozenset({"litert", "litert-reference"})
"""Roundings of a source whose kernels are these very ones: it is as they want it, and means what they do."""
