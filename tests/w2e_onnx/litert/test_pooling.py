"""Pooling of codes, beside LiteRT's two kernel sets: not one integer differs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.w2e_onnx.litert.weighed import Draw, Weighed
from tests.w2e_onnx.litert.windows import extent


@dataclass(frozen=True, kw_only=True)
class Pool:
    """A pooling operator to be drawn.

    Attributes:
        kind: "average_pool_2d" or "max_pool_2d".
        type: of the codes.
        image: height, width and channels.
        window, stride: of it.
        padding, activation: of it.
        batch: how many images.
        free: whether that is said at run time only.
        few: whether the codes are near 0, where averages of negative numbers are ties.
    """

    kind: str = "average_pool_2d"
    type: str = "int8"
    image: tuple[int, int, int] = (8, 7, 3)
    window: tuple[int, int] = (2, 2)
    stride: tuple[int, int] = (2, 2)
    padding: str = "VALID"
    activation: str = "NONE"
    batch: int = 1
    free: bool = False
    few: bool = False

    def draw(self, seed: int = 0) -> Weighed:
        """With numbers."""
        chance = np.random.default_rng(seed)
        height, width, depth = self.image
        x = Draw(chance=chance, type=self.type).activation(
            (self.batch, height, width, depth), "n" if self.free else None
        )
        if self.activation != "NONE":
            x = replace(x, scale=float(np.float32(chance.uniform(0.01, 0.1))))
        if self.few:
            assert x.array is not None
            low = 0 if self.type == "uint8" else -6
            x = replace(x, array=chance.integers(low, 7, x.array.shape).astype(self.type))
        places = [
            extent(n, k, s, self.padding)
            for n, k, s in zip((height, width), self.window, self.stride, strict=True)
        ]
        return Weighed(
            kind=self.kind,
            operands=[x],
            output=replace(x, array=None, shape=("n" if self.free else self.batch, *places, depth)),
            attributes={
                "padding": self.padding,
                "stride_w": self.stride[1],
                "stride_h": self.stride[0],
                "filter_width": self.window[1],
                "filter_height": self.window[0],
                "fused_activation_function": self.activation,
            },
        )


CASES = {
    "halves": Pool(few=True, batch=5),
    "uint8": Pool(type="uint8", few=True),
    "int16": Pool(type="int16"),
    "same": Pool(padding="SAME", window=(3, 3), few=True),
    "uint8, same": Pool(type="uint8", padding="SAME", window=(3, 3)),
    "int16, same": Pool(type="int16", padding="SAME", window=(3, 3), few=True),
    "whole": Pool(window=(8, 7), stride=(1, 1), batch=9, few=True),
    "uneven": Pool(window=(5, 4), stride=(1, 2)),
    "relu6": Pool(activation="RELU6"),
    "between -1 and 1": Pool(type="uint8", activation="RELU_N1_TO_1"),
    "gaps": Pool(window=(1, 1), stride=(3, 2)),
    "free batch": Pool(batch=3, free=True),
}
BOTH = pytest.mark.parametrize("reference", [False, True])


@BOTH
@pytest.mark.parametrize("kind", ["average_pool_2d", "max_pool_2d"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_pools(case: Pool, kind: str, reference: bool) -> None:
    replace(case, kind=kind).draw().check(reference=reference)


@pytest.mark.parametrize("kind", ["average_pool_2d", "max_pool_2d"])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
def test_there_and_back(kind: str, dtype: str, tmp_path: Path) -> None:
    Pool(kind=kind, type=dtype, padding="SAME", window=(3, 2)).draw().check_back(tmp_path)


@st.composite
def pools(draw: st.DrawFn) -> Pool:
    window = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    return Pool(
        kind=draw(st.sampled_from(["average_pool_2d", "max_pool_2d"])),
        type=draw(st.sampled_from(["int8", "uint8", "int16"])),
        image=(
            draw(st.integers(window[0], 9)),
            draw(st.integers(window[1], 9)),
            draw(st.sampled_from([1, 3, 8, 33])),
        ),
        window=window,
        stride=(draw(st.integers(1, 3)), draw(st.integers(1, 3))),
        padding=draw(st.sampled_from(["SAME", "VALID"])),
        activation=draw(st.sampled_from(["NONE", "RELU", "RELU6", "RELU_N1_TO_1"])),
        batch=draw(st.integers(1, 3)),
        few=draw(st.booleans()),
    )


@settings(max_examples=30, deadline=None, derandomize=True)
@given(case=pools(), seed=st.integers(0, 2**32 - 1), reference=st.booleans())
def test_any(case: Pool, seed: int, reference: bool) -> None:
    case.draw(seed).check(reference=reference, optimize=(True,))
