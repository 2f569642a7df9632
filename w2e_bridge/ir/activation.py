"""Quantization of values that flow through the graph, and of the key/value cache."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from w2e_bridge.ir.codes import CodeMap
from w2e_bridge.ir.parts import AnyArray


class ActivationMode(enum.Enum):
    """When the scale of a value is known.

    STATIC: written in the model. DYNAMIC: computed from each value at run time.
    """

    STATIC = "static"
    DYNAMIC = "dynamic"


class Granularity(enum.Enum):
    """What shares a scale: the whole tensor, one axis' slices, one token (row), or groups of a row."""

    TENSOR = "tensor"
    CHANNEL = "channel"
    TOKEN = "token"  # noqa: S105 - a granularity, no password
    GROUP = "group"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ActivationQuantization:
    """How a graph value is quantized, a property of the value.

    Attributes:
        codes: integer or float codes.
        mode: static or dynamic.
        granularity: what shares a scale.
        scale: float array, rank 0 for TENSOR, 1 for CHANNEL; None when dynamic.
        zero_point: integer array of the same shape, or None for zero.
        axis: the axis of CHANNEL.
        group: values in a group of GROUP.
        second_level: factor of the scales (NVFP4), or None.
        narrow_range: the lowest code of a signed type is not used; None = not said.
    """

    codes: CodeMap
    mode: ActivationMode = ActivationMode.STATIC
    granularity: Granularity = Granularity.TENSOR
    scale: AnyArray | None = None
    zero_point: AnyArray | None = None
    axis: int | None = None
    group: int | None = None
    second_level: float | None = None
    narrow_range: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KVQuantization:
    """How keys and values are kept in the cache of one layer.

    Attributes:
        layer: index of the layer.
        key: quantization of the keys.
        value: quantization of the values.
    """

    layer: int
    key: ActivationQuantization
    value: ActivationQuantization
