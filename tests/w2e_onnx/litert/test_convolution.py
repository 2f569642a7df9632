"""Convolutions of codes, beside LiteRT's two kernel sets: not one integer differs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.w2e_onnx.litert.windows import Convolution, Transposed

PLAIN = {
    "channels": Convolution(),
    "one scale, relu6": Convolution(channels=False, activation="RELU6"),
    "uint8": Convolution(type="uint8", weights="uint8", channels=False, activation="RELU"),
    "valid": Convolution(padding="VALID", stride=2, activation="RELU_N1_TO_1"),
    "dilated": Convolution(dilation=2, image=(11, 9, 3)),
    "groups": Convolution(groups=4),
    "uint8 groups": Convolution(type="uint8", weights="uint8", channels=False, groups=2),
    "int4": Convolution(weights="int4"),
    "bias without a scale": Convolution(bias=""),
    "batch": Convolution(batch=3),
    "free batch": Convolution(batch=3, free=True),
    "point": Convolution(kernel=1, outputs=1),
    "int16": Convolution(type="int16", bias="int64"),
    "int16, one scale": Convolution(type="int16", bias="int64", channels=False, activation="RELU"),
    "int16, narrow bias": Convolution(type="int16"),
    "int16 groups": Convolution(type="int16", groups=2, bias="int64"),
}
DEPTHWISE = {
    "channels": Convolution(depthwise=True, outputs=1),
    "one scale": Convolution(depthwise=True, outputs=1, channels=False, activation="RELU6"),
    "several for each": Convolution(depthwise=True, outputs=3, stride=2, padding="VALID"),
    "one channel": Convolution(depthwise=True, outputs=8, image=(7, 6, 1)),
    "uint8": Convolution(type="uint8", weights="uint8", channels=False, depthwise=True, outputs=2),
    "outside of XNNPACK": Convolution(depthwise=True, outputs=1, image=(7, 6, 11), bias=""),
    "int4": Convolution(depthwise=True, outputs=1, weights="int4"),
    "batch": Convolution(depthwise=True, outputs=1, batch=2, dilation=2),
    "int16": Convolution(type="int16", depthwise=True, outputs=1, bias="int64"),
}
TRANSPOSED = {
    "same": Transposed(),
    "one scale": Transposed(channels=False, activation="RELU"),
    "valid": Transposed(padding="VALID", kernel=(3, 2)),
    "gaps": Transposed(kernel=(2, 2), stride=(3, 3)),
    "uneven": Transposed(kernel=(3, 5), stride=(2, 1), batch=2),
    "no bias": Transposed(bias=None),
    "bias without a scale": Transposed(bias=""),
    "uint8": Transposed(type="uint8"),
    "uint8 outside of XNNPACK": Transposed(type="uint8", bias="", target=(8, 10, 8)),
    "uint8, not in sixteens": Transposed(type="uint8", bias="", target=(7, 9, 5)),
    "int16": Transposed(type="int16", bias="int64"),
    "int16, narrow bias": Transposed(type="int16"),
}
BOTH = pytest.mark.parametrize("reference", [False, True])


@BOTH
@pytest.mark.parametrize("case", PLAIN.values(), ids=PLAIN)
def test_convolutions(case: Convolution, reference: bool) -> None:
    case.draw().check(reference=reference)


@BOTH
@pytest.mark.parametrize("case", DEPTHWISE.values(), ids=DEPTHWISE)
def test_depthwise(case: Convolution, reference: bool) -> None:
    case.draw().check(reference=reference)


@BOTH
@pytest.mark.parametrize("case", TRANSPOSED.values(), ids=TRANSPOSED)
def test_transposed(case: Transposed, reference: bool) -> None:
    case.draw().check(reference=reference)


@pytest.mark.parametrize(
    "case",
    [
        Convolution(stride=2, activation="RELU6"),
        Convolution(type="uint8", weights="uint8", channels=False, padding="VALID"),
        Convolution(type="int16", bias="int64"),
        Convolution(groups=2),
        Convolution(weights="int4"),
        Convolution(depthwise=True, outputs=2),
        Transposed(),
        Transposed(padding="VALID", bias=None, type="int16"),
    ],
    ids=str,
)
def test_there_and_back(case: Convolution | Transposed, tmp_path: Path) -> None:
    case.draw().check_back(tmp_path)


@st.composite
def convolutions(draw: st.DrawFn) -> Convolution:
    kind = draw(st.sampled_from(["int8", "int8", "uint8", "int16"]))
    depthwise = draw(st.booleans())
    kernel, dilation = draw(st.integers(1, 4)), draw(st.sampled_from([1, 1, 2]))
    least = (kernel - 1) * dilation + 1
    bias = st.sampled_from(
        {"int16": ["int64"] if depthwise else ["int64", "int32"]}.get(kind, ["int32", "int32", ""])
    )
    return Convolution(
        type=kind,
        weights="uint8" if kind == "uint8" else "int8",
        channels=kind != "uint8" and draw(st.booleans()),
        depthwise=depthwise,
        image=(
            draw(st.integers(least, 9)),
            draw(st.integers(least, 9)),
            draw(st.sampled_from([1, 2, 4, 8, 17])),
        ),
        outputs=draw(st.integers(1, 3)) if depthwise else draw(st.sampled_from([1, 4, 11, 16])),
        kernel=kernel,
        stride=1 if dilation > 1 else draw(st.integers(1, 3)),
        dilation=dilation,
        padding=draw(st.sampled_from(["SAME", "VALID"])),
        activation=draw(st.sampled_from(["NONE", "RELU", "RELU6", "RELU_N1_TO_1"])),
        bias=draw(bias),
        batch=draw(st.integers(1, 2)),
    )


@settings(max_examples=40, deadline=None, derandomize=True)
@given(case=convolutions(), seed=st.integers(0, 2**32 - 1), reference=st.booleans())
def test_any(case: Convolution, seed: int, reference: bool) -> None:
    case.draw(seed).check(reference=reference, optimize=(True,))
