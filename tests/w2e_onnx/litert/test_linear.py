"""Products of codes, beside LiteRT's two kernel sets: not one integer differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.w2e_onnx.litert.harness import Data
from tests.w2e_onnx.litert.weighed import Draw, Weighed


@dataclass(frozen=True, kw_only=True)
class Linear:
    """A fully connected operator to be drawn.

    Attributes:
        type, weights, channels: see `Draw`.
        shape: of the activation.
        units: of the output.
        activation: "NONE", "RELU", ….
        bias: its type, "" without a scale, None for no bias.
        keeps: whether all dimensions but the last one are kept.
        said: `quantized_bias_type`.
        point: a zero point of the weights.
        free: whether the first extent is said at run time only.
    """

    type: str = "int8"
    weights: str = "int8"
    channels: bool = True
    shape: tuple[int, ...] = (5, 32)
    units: int = 12
    activation: str = "NONE"
    bias: str | None = "int32"
    keeps: bool = False
    said: str | None = None
    point: int = 0
    free: bool = False

    def draw(self, seed: int = 0) -> Weighed:
        """With numbers."""
        draw = Draw(
            chance=np.random.default_rng(seed),
            type=self.type,
            weights=self.weights,
            channels=self.channels,
        )
        x = draw.activation(self.shape, "n" if self.free else None)
        weights = draw.codes((self.units, self.shape[-1]), 0)
        if self.point:
            weights = replace(weights, zero_point=self.point)
        operands = [x, weights]
        if self.bias is not None:
            operands.append(draw.bias(x, weights, 0, self.bias))
        rows = int(np.prod(self.shape[:-1]))
        shape: tuple[int | str, ...] = self.shape[:-1] if self.keeps else (rows,)
        if self.free:
            shape = ("n", *shape[1:])
        attributes: dict[str, int | str | bool] = {
            "fused_activation_function": self.activation,
            "keep_num_dims": self.keeps,
        }
        if self.said is not None:
            attributes["quantized_bias_type"] = self.said
        return Weighed(
            kind="fully_connected",
            operands=operands,
            output=draw.output((*shape, self.units), x, weights, 0),
            attributes=attributes,
        )


@dataclass(frozen=True, kw_only=True)
class Product:
    """A product of two values to be drawn.

    Attributes:
        type: of the codes.
        second: of the second factor's.
        x, y: shapes.
        adj: which factors are transposed.
        point: whether the second factor has a zero point other than 0.
        constant: whether the second factor is one.
    """

    type: str = "int8"
    second: str = ""
    x: tuple[int, ...] = (2, 5, 8)
    y: tuple[int, ...] = (2, 8, 6)
    adj: tuple[bool, bool] = (False, False)
    point: bool = True
    constant: bool = False

    def draw(self, seed: int = 0) -> Weighed:
        """With numbers."""
        chance = np.random.default_rng(seed)
        draw = Draw(chance=chance, type=self.type)
        first = draw.activation(self.x)
        other = Draw(chance=chance, type=self.second or self.type).activation(self.y)
        point = other.zero_point if self.point else 0
        second = replace(other, zero_point=point, constant=self.constant)
        assert first.array is not None
        assert second.array is not None
        factors = [
            np.swapaxes(d.array, -1, -2) if turned and d.array is not None else d.array
            for d, turned in zip((first, second), self.adj, strict=True)
        ]
        assert factors[0] is not None
        assert factors[1] is not None
        shape = np.matmul(factors[0].astype(np.int64), factors[1].astype(np.int64)).shape
        info, wide = np.iinfo(self.type), np.iinfo(second.array.dtype)
        width = 0.1 * np.sqrt(factors[0].shape[-1]) * (int(wide.max) - int(wide.min))
        scale = np.float32(first.scale) * np.float32(second.scale) * width * chance.uniform(1, 6)
        zero = 0 if self.type == "int16" else int(chance.integers(info.min, info.max))
        return Weighed(
            kind="batch_matmul",
            operands=[first, second],
            output=Data(
                type=self.type, shape=shape, scale=float(np.float32(scale)), zero_point=zero
            ),
            attributes={"adj_x": self.adj[0], "adj_y": self.adj[1]},
        )


CONNECTED = {
    "channels": Linear(),
    "one scale, relu6": Linear(channels=False, activation="RELU6"),
    "no bias": Linear(bias=None, activation="RELU"),
    "bias without a scale": Linear(bias=""),
    "uint8": Linear(type="uint8", weights="uint8", channels=False),
    "uint8 outside of XNNPACK": Linear(type="uint8", weights="uint8", channels=False, bias=""),
    "int4": Linear(weights="int4"),
    "int4, odd depth": Linear(weights="int4", shape=(5, 31)),
    "int2": Linear(weights="int2"),
    "int2, odd depth": Linear(weights="int2", shape=(5, 30)),
    "int2, one unit": Linear(weights="int2", units=1, bias=None),
    "zero point": Linear(channels=False, point=3),
    "kept": Linear(shape=(2, 3, 4, 32), keeps=True),
    "flattened": Linear(shape=(2, 3, 4, 32)),
    "kept, free": Linear(shape=(2, 3, 32), keeps=True, free=True),
    "free": Linear(free=True),
    "int16": Linear(type="int16", bias="int64"),
    "int16, kept": Linear(type="int16", bias="int64", shape=(2, 3, 8), keeps=True, channels=False),
    "int16, narrow bias": Linear(type="int16", said="INT32"),
    "int16, no bias": Linear(type="int16", bias=None),
    "int16, no wide bias": Linear(type="int16", bias=None, said="INT64"),
    "int16, many weights": Linear(type="int16", bias="int64", shape=(3, 300), units=120),
    "int16, many, kept": Linear(
        type="int16", shape=(1, 2, 300), units=120, keeps=True, said="INT32"
    ),
    "int16 by int4": Linear(type="int16", bias="int64", weights="int4"),
}
PRODUCTS = {
    "as it is": Product(),
    "transposed": Product(y=(2, 6, 8), adj=(False, True)),
    "both transposed": Product(x=(8, 5), y=(6, 8), adj=(True, True), point=False),
    "XNNPACK": Product(point=False),
    "a constant": Product(y=(8, 6), constant=True, point=False),
    "broadcast": Product(x=(1, 5, 8), y=(3, 8, 6)),
    "int16": Product(type="int16", x=(2, 4, 5, 64), y=(2, 4, 64, 6)),
    "int16 by int8": Product(type="int16", second="int8", y=(8, 6), constant=True, point=False),
}
BOTH = pytest.mark.parametrize("reference", [False, True])


@BOTH
@pytest.mark.parametrize("case", CONNECTED.values(), ids=CONNECTED)
def test_fully_connected(case: Linear, reference: bool) -> None:
    case.draw().check(reference=reference)


@BOTH
@pytest.mark.parametrize("case", PRODUCTS.values(), ids=PRODUCTS)
def test_products(case: Product, reference: bool) -> None:
    case.draw().check(reference=reference)


CASES: Sequence[Linear | Product] = [
    Linear(),
    Linear(type="uint8", weights="uint8", channels=False, bias=None),
    Linear(type="int16", bias="int64", shape=(2, 3, 8), keeps=True),
    Linear(type="int16", said="INT32"),
    Linear(weights="int4", shape=(2, 3, 8)),
    Product(),
    Product(type="int16", y=(2, 6, 8), adj=(False, True)),
    Product(y=(8, 6), constant=True),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_there_and_back(case: Linear | Product, tmp_path: Path) -> None:
    case.draw().check_back(tmp_path)


@st.composite
def products(draw: st.DrawFn) -> Linear:
    kind = draw(st.sampled_from(["int8", "int8", "uint8", "int16"]))
    weights = "uint8" if kind == "uint8" else draw(st.sampled_from(["int8", "int4", "int2"]))
    bias = draw(
        st.sampled_from(["int64", "int32", None] if kind == "int16" else ["int32", "", None])
    )
    channels = weights == "int2" or (kind != "uint8" and draw(st.booleans()))
    if bias == "" and not channels:
        bias = "int32"  # LiteRT takes a missing scale for 0, and a large difference for a mistake
    said = "INT32" if kind == "int16" and bias == "int32" else None
    depth = draw(st.sampled_from([1, 2, 3, 4, 8, 20, 31, 64]))
    return Linear(
        type=kind,
        weights=weights,
        channels=channels,
        shape=(*draw(st.sampled_from([(1,), (7,), (2, 3), (3, 2, 2)])), depth),
        units=draw(st.sampled_from([1, 2, 3, 8, 17])),
        activation=draw(st.sampled_from(["NONE", "RELU", "RELU6", "RELU_N1_TO_1"])),
        bias=bias,
        keeps=draw(st.booleans()),
        said=said,
    )


@settings(max_examples=40, deadline=None, derandomize=True)
@given(case=products(), seed=st.integers(0, 2**32 - 1), reference=st.booleans())
def test_any(case: Linear, seed: int, reference: bool) -> None:
    case.draw(seed).check(reference=reference, optimize=(True,))
