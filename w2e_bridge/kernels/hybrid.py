"""Operators of floats that read integer weights: their kernels round the floats at run time.

The value that is rounded gets a name of its own (an Identity) and a dynamic quantization, which keeps such
an operator apart from one that reads the same weights through a DEQUANTIZE and computes with floats.
LiteRT: tflite/kernels/{fully_connected,conv,depthwise_conv,batch_matmul,lstm_eval}.cc, `EvalHybrid`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from w2e_bridge.ir.activation import ActivationMode, ActivationQuantization, Granularity
from w2e_bridge.ir.codes import Integer
from w2e_bridge.kernels.operation import Attribute

ASYMMETRIC = "asymmetric_quantize_inputs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hybrid:
    """Which operands of a kind are concerned.

    Attributes:
        x: the floats.
        weights: that are read as they are.
        granularity: what shares a scale: a row, or a sample (a slice of axis 0).
    """

    x: int
    weights: int
    granularity: Granularity = Granularity.TOKEN


_SAMPLE = Granularity.CHANNEL

KINDS: Mapping[str, Hybrid] = {
    "fully_connected": Hybrid(x=0, weights=1),
    "batch_matmul": Hybrid(x=0, weights=1),
    "conv_2d": Hybrid(x=0, weights=1, granularity=_SAMPLE),
    "depthwise_conv_2d": Hybrid(x=0, weights=1, granularity=_SAMPLE),
    "transpose_conv": Hybrid(x=2, weights=1, granularity=_SAMPLE),
    "svdf": Hybrid(x=0, weights=1),
    "rnn": Hybrid(x=0, weights=1),
    "unidirectional_sequence_rnn": Hybrid(x=0, weights=1),
    "bidirectional_sequence_rnn": Hybrid(x=0, weights=1),
    "lstm": Hybrid(x=0, weights=2),
    "unidirectional_sequence_lstm": Hybrid(x=0, weights=2),
    "bidirectional_sequence_lstm": Hybrid(x=0, weights=2),
}
"""Kinds that have such kernels."""


def dynamic(kind: str, attributes: Mapping[str, Attribute]) -> ActivationQuantization:
    """How the kernel of a hybrid operator rounds its floats: to int8, symmetric kernels to -127 at least."""
    granularity = KINDS[kind].granularity
    return ActivationQuantization(
        codes=Integer(bits=8, signed=True),
        mode=ActivationMode.DYNAMIC,
        granularity=granularity,
        axis=0 if granularity is Granularity.CHANNEL else None,
        narrow_range=not attributes.get(ASYMMETRIC, False),
    )


def is_dynamic(quantization: ActivationQuantization | None) -> bool:
    """Whether a kernel rounds a value at run time."""
    return quantization is not None and quantization.mode is ActivationMode.DYNAMIC
