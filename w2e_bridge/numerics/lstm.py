"""Numbers of TensorFlow Lite's integer LSTM: its tables, and the scales between its parts.

Sources: tensorflow/lite/kernels/unidirectional_sequence_lstm.cc (`PopulateQuantizedLstmParams8x8_16`),
internal/reference/portable_tensor_utils.cc (`PortableApplySigmoid`, `PortableApplyTanh`).
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.numerics.gemmlowp import logistic, tanh

GATE_SCALE = np.float32(2.0**-12)
"""Of what a gate's activation reads, where it is not normalized before."""

GATE_BITS = 3
"""Integer bits of that."""

MOST_BITS = 6
"""Integer bits of a cell's state that the kernel knows."""

_CODES = np.arange(-(2**15), 2**15, dtype=np.int64)


@cache
def sigmoid_table() -> NDArray[np.int16]:
    """Sigmoid of every code of a gate, lowest code first, in units of 2**-15."""
    return logistic(_CODES, GATE_BITS, 16).astype(np.int16)


@cache
def tanh_table(integer_bits: int) -> NDArray[np.int16]:
    """Hyperbolic tangent of every code with so many integer bits, lowest code first."""
    table = tanh(_CODES, integer_bits, 16)
    if integer_bits + 1 > 5:  # the exponential is of twice the number, and 0 below -32
        most = 1 << (36 - (integer_bits + 1) - 16)
        table = np.where(np.abs(_CODES) > most, np.sign(_CODES) * (2**15 - 1), table)
    return table.astype(np.int16)


def power_of_two(scale: float | np.float32) -> int | None:
    """The exponent of a scale that is a power of two (`CheckedLog2`); None where it is none."""
    exponent = np.log2(np.float64(scale))
    rounded = int(np.rint(exponent))
    return rounded if abs(exponent - rounded) < 1e-3 else None


def product_scale(a: float, b: float, c: float) -> np.float32:
    """A * b / c in the order and type of the kernel."""
    return np.float32(np.float32(np.float32(a) * np.float32(b)) / np.float32(c))


def hidden_scale(scale: float) -> np.float32:
    """From a product of two gates (2**-30) to the hidden state."""
    return np.float32(2.0**-15 / np.float64(np.float32(scale)) * 2.0**-15)


def clip_code(limit: float, scale: float, dtype: str) -> int:
    """The code of a limit, cut off; 0 for none."""
    if limit <= 0:
        return 0
    info = np.iinfo(dtype)
    code = np.float32(limit) / np.float32(scale)
    return int(np.clip(code, np.float32(info.min), np.float32(info.max)))


def trailing_zeros(number: int) -> int:
    """How often a number that is not 0 can be halved."""
    return (number & -number).bit_length() - 1
