"""The bias of a product: integers in steps of the product of its factors' scales."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.codes import Integer
from w2e_bridge.ir.encoding import FLOAT32, Encoding
from w2e_bridge.ir.parts import Parts
from w2e_bridge.ir.tensor import ComputedStorage, OwnedStorage, Tensor, plain_tensor
from w2e_bridge.loss import Grade, TensorLoss
from w2e_bridge.passes.legalize.encodings import Scales, axis_block, scales_of

NEAR = 1e-3
"""Relative difference of a scale that no kernel sees: LiteRT compares it with the output's
(tensorflow/lite/kernels/kernel_util.cc, GetQuantizedConvolutionMultipler) and computes with the product."""

_WIDTHS = {8: 32, 16: 64}
"""Bits of the activations to those of the bias."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fitted:
    """A bias as a kernel takes it.

    Attributes:
        tensor: the constant.
        loss: what became of it, None where it is as it was.
    """

    tensor: Tensor
    loss: TensorLoss | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Real:
    """A constant of real numbers in the place of codes.

    Attributes:
        tensor: the constant.
        loss: what became of it.
    """

    tensor: Tensor
    loss: TensorLoss


def as_reals(tensor: Tensor) -> Real | None:
    """Codes of more than 16 bits as the real numbers that they are; None of others.

    LiteRT has no DEQUANTIZE of them (tensorflow/lite/kernels/dequantize.cc).
    """
    codes = tensor.encoding.codes
    if not tensor.encoding.quantized or not isinstance(codes, Integer) or codes.bits <= 16:
        return None
    made = plain_tensor(tensor.name, tensor.dequantize())
    loss = TensorLoss(
        name=tensor.name,
        source_encoding=str(tensor.encoding),
        encoding=str(made.encoding),
        grade=Grade.FLOAT,
        reason="read by an operator that computes with real numbers here",
    )
    return Real(tensor=made, loss=loss)


def fitted(bias: Tensor, x: ActivationQuantization, weights: Scales) -> Fitted | None:
    """A bias in steps of the product of two scales; None where it is of no kind that can be.

    Args:
        bias: a vector, or one number.
        x: quantization of the other factor.
        weights: scales of the weights.
    """
    assert x.scale is not None
    steps = np.float32(x.scale) * weights.scale  # (channels or 1,)
    codes = bias.encoding.codes
    own = scales_of(bias)
    if own is not None and isinstance(codes, Integer) and codes.bits >= 32 and own.symmetric:
        if np.allclose(own.scale, steps, rtol=NEAR, atol=0):
            return Fitted(tensor=_wide(bias, _WIDTHS.get(x.codes.bits, codes.bits)), loss=None)
    elif bias.encoding.quantized and own is None:
        return None
    return _rounded(bias, x, steps)


def _wide(bias: Tensor, bits: int) -> Tensor:
    """The same codes with as many bits as the kernel's sums have."""
    codes = bias.encoding.codes
    if codes.bits == bits:
        return bias
    kind = np.int64 if bits == 64 else np.int32

    def compute(start: int, stop: int) -> Parts:
        parts = bias.storage.parts(start, stop)
        return replace(parts, codes=parts.codes.astype(kind))

    encoding = replace(bias.encoding, codes=Integer(bits=bits, signed=True))
    return replace(bias, encoding=encoding, storage=ComputedStorage(compute=compute))


def _rounded(bias: Tensor, x: ActivationQuantization, steps: NDArray[np.float32]) -> Fitted | None:
    bits = _WIDTHS.get(x.codes.bits)
    values = bias.dequantize().astype(np.float64).reshape(-1)
    if bits is None or not np.isfinite(values).all() or (steps <= 0).any():
        return None
    wide = Integer(bits=bits, signed=True)
    exact = values / steps.astype(np.float64)
    codes = np.clip(np.rint(exact), wide.low, wide.high)
    error = np.abs(codes - exact)
    per = steps.size > 1
    encoding = Encoding(
        codes=wide, block=axis_block(0 if per else None, len(bias.shape)), scale=FLOAT32
    )
    kind = np.int32 if bits == 32 else np.int64
    whole = Parts(codes=codes.astype(kind).reshape(1, -1), scale=Parts(codes=steps.reshape(1, -1)))
    made = replace(bias, encoding=encoding, storage=OwnedStorage(whole=whole))
    steps_off = float(error.max(initial=0))
    loss = TensorLoss(
        name=bias.name,
        source_encoding=str(bias.encoding),
        encoding=str(encoding),
        grade=_grade(bias, steps_off),
        max_error_steps=steps_off,
        max_abs_error=float((error * steps).max(initial=0)),
        reason="integer kernels add a bias in steps of the product of two scales",
    )
    return Fitted(tensor=made, loss=loss)


def _grade(bias: Tensor, steps: float) -> Grade:
    if not steps:
        return Grade.EXACT
    return Grade.REQUANTIZED if bias.encoding.quantized else Grade.ROUNDING
