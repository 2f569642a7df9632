"""Symmetric ranges of activations: what all of TensorRT's calibration files say, each in its own words.

TensorRT's int8 is symmetric: code = round(x / scale), clipped to [-128, 127], and calibration writes
scale = amax / 127 (NVIDIA/TensorRT samples/common/sampleEngines.cpp, readScalesFromCalibrationCache).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from w2e_bridge.errors import FormatError, UnsupportedError, Where
from w2e_bridge.formats.output import Output, small_file
from w2e_bridge.formats.source import Source
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.codes import CodeMap, Float, Integer
from w2e_bridge.ir.model import MetadataValue, Model, Origin
from w2e_bridge.loss import Grade, Ignored, TensorLoss

LEVELS = 127
"""Codes on each side of zero."""

MOST_BYTES = 1 << 28
"""No calibration file is larger: a line for each value of a network."""

WIDEST = 16
"""Bits of codes that are all tried."""

KIND = "calibration"
INT8 = Integer(bits=8, signed=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of a text file, for messages."""

    path: Path
    number: int

    def error(self, problem: str, hint: str = "") -> FormatError:
        """An error at this line."""
        return FormatError(Where(path=self.path), f"line {self.number}: {problem}", hint)


def text_of(path: Path) -> str:
    """A whole text file, its size checked first."""
    source = Source(path)
    if source.size > MOST_BYTES:
        raise source.error(None, f"{source.size} bytes are too many for a calibration file")
    data = source.take(0, source.size, "text")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise source.error(error.start, "no text (UTF-8 expected)") from error


def model_of(
    path: Path,
    form: str,
    scales: Mapping[str, np.float32],
    metadata: Mapping[str, MetadataValue] | None = None,
) -> Model:
    """A model that holds nothing but ranges."""
    return Model(
        tensors={},
        activations={name: quantization(scale) for name, scale in scales.items()},
        kind=KIND,
        metadata=dict(metadata or {}),
        origin=Origin(format=form, path=str(path), nbytes=path.stat().st_size),
    )


def quantization(scale: np.float32) -> ActivationQuantization:
    """Symmetric int8."""
    return ActivationQuantization(codes=INT8, scale=np.asarray(scale, np.float32))


def amax_of(scale: np.float32) -> float:
    """The largest magnitude, exactly: 24 bits times 7 bits are fewer than float64's 53."""
    return float(scale) * LEVELS


def scale_of(amax: float) -> np.float32:
    """The scale of a largest magnitude, rounded once: the inverse of `amax_of`."""
    with np.errstate(over="ignore"):
        return np.float32(amax / LEVELS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranges:
    """The symmetric ranges of a model's activations.

    Attributes:
        scales: by name, in the model's order.
        losses: a row for each.
        ignored: what such a file can't say.
    """

    scales: Mapping[str, np.float32]
    losses: tuple[TensorLoss, ...]
    ignored: tuple[Ignored, ...]


def ranges_of(model: Model) -> Ranges:
    """The activations of any model as symmetric ranges.

    Raises:
        UnsupportedError: the model has none.
    """
    scales: dict[str, np.float32] = {}
    losses: list[TensorLoss] = []
    ignored = [
        Ignored(name=name, reason="a weight: TensorRT makes its scales itself")
        for name in model.tensors
    ]
    for name, found in model.activations.items():
        if found.scale is None or np.size(found.scale) != 1:
            ignored.append(Ignored(name=name, reason="no single scale known before run time"))
            continue
        scale, loss = symmetric(name, found)
        scales[name] = scale
        losses.append(loss)
    if not scales:
        raise UnsupportedError("the model has no quantized activations to write ranges of")
    return Ranges(scales=scales, losses=tuple(losses), ignored=tuple(ignored))


def symmetric(name: str, found: ActivationQuantization) -> tuple[np.float32, TensorLoss]:
    """The scale of the smallest symmetric int8 range that covers a static quantization, and what that costs."""
    assert found.scale is not None
    scale = np.float32(np.reshape(found.scale, ()))
    zero = 0 if found.zero_point is None else int(np.reshape(found.zero_point, ()))
    codes = found.codes
    low, high = _ends(codes)
    grade, reason = Grade.EXACT, ""
    if not isinstance(codes, Integer) or codes.bits != INT8.bits or zero != codes.low - INT8.low:
        reach = max(abs(low - zero), abs(high - zero))
        scale = scale_of(float(scale) * reach)
        grade = Grade.REQUANTIZED
        reason = f"a symmetric range that covers [{low - zero:g}, {high - zero:g}] steps"
    error = 0.0 if grade is Grade.EXACT else error_of(found, scale)
    return scale, TensorLoss(
        name=name,
        source_encoding=f"{codes}",
        encoding="int8",
        grade=grade,
        max_abs_error=error,
        max_error_steps=error / abs(float(np.reshape(found.scale, ()))) if error else 0.0,
        reason=reason,
    )


def _ends(codes: CodeMap) -> tuple[float, float]:
    """The least and the greatest of what codes mean before scaling."""
    if isinstance(codes, Integer):
        return codes.low, codes.high
    if isinstance(codes, Float) and codes.bits <= INT8.bits:
        return -codes.high, codes.high
    raise UnsupportedError(f"values of {codes} have no range that is known here")


def error_of(found: ActivationQuantization, scale: np.float32) -> float:
    """The largest distance between a number that the source's codes say and the nearest of int8 with a scale."""
    assert found.scale is not None
    codes, own = found.codes, np.float32(np.reshape(found.scale, ()))
    zero = 0 if found.zero_point is None else int(np.reshape(found.zero_point, ()))
    if not isinstance(codes, Integer) or codes.bits > WIDEST or not 0 < scale < np.inf:
        return float(scale) / 2
    steps = np.arange(codes.low - zero, codes.high - zero + 1).astype(np.float32)
    numbers = steps * own
    nearest = np.clip(np.rint(numbers / scale), INT8.low, INT8.high).astype(np.float32) * scale
    return float(np.abs(nearest.astype(np.float64) - numbers).max())


def output(name: str, data: bytes, found: Ranges, ignored: Iterable[Ignored] = ()) -> Output:
    """The one file of ranges."""
    return Output(
        files=(small_file(name, data),),
        values=found.losses,
        ignored=(*found.ignored, *ignored),
        summary=f"symmetric int8 ranges of {len(found.scales)} activations",
    )
