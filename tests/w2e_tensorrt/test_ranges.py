"""Calibration caches, dynamic ranges and calibration tables: one set of scales, whichever file holds it."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import w2e_bridge
from w2e_bridge.errors import FormatError, UnsupportedError
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.codes import Float, Integer, Table
from w2e_bridge.loss import Grade
from w2e_tensorrt.calibration_cache import HEADER, lift, read, written
from w2e_tensorrt.ranges import amax_of, scale_of, symmetric

TRAPS = """TRT-8600-EntropyCalibration2
images: 3c010a14
ONNXTRT_Broadcast_1855_output: 0
/encoder/Log_output_0: 7f800000
(Unnamed Layer* 46) [Constant]_output: 3a83126f
a name: with colons: and spaces: 3f800000
"""

SCALES = st.floats(min_value=0, allow_nan=False, width=32)
NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=12
)


def same(a: dict[str, np.float32], b: dict[str, np.float32]) -> bool:
    return {k: v.tobytes() for k, v in a.items()} == {k: v.tobytes() for k, v in b.items()}


def test_real_traps_are_read_and_written_back(tmp_path: Path) -> None:
    path = tmp_path / "calibration.cache"
    path.write_text(TRAPS)
    header, scales = read(path)
    assert header == "TRT-8600-EntropyCalibration2"
    assert scales["a name: with colons: and spaces"] == 1
    assert scales["ONNXTRT_Broadcast_1855_output"] == 0
    assert np.isinf(scales["/encoder/Log_output_0"])
    assert written(header, scales).decode() == TRAPS


@settings(deadline=None, max_examples=12)
@given(st.dictionaries(NAMES, SCALES, min_size=1, max_size=8))
def test_every_file_gives_the_scales_back(scales: dict[str, float]) -> None:
    numbers = {name: np.float32(value) for name, value in scales.items()}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "a.cache").write_bytes(written(HEADER, numbers))
        for number, form in enumerate(("dynamic_ranges", "calibration_table", "calibration_cache")):
            made = folder / f"{number}"
            w2e_bridge.convert(folder / "a.cache", to=form, out=made)
            file = next(p for p in made.iterdir() if p.name != "w2e-report.json")
            w2e_bridge.convert(file, to="calibration_cache", out=folder / f"back{number}")
            assert same(read(folder / f"back{number}" / "model.cache")[1], numbers)


@given(SCALES)
def test_a_magnitude_keeps_its_scale(scale: float) -> None:
    number = np.float32(scale)
    assert scale_of(amax_of(number)).tobytes() == number.tobytes()


def test_the_digits_are_the_scale(tmp_path: Path) -> None:
    (tmp_path / "c.cache").write_text("TRT-7000-MinMaxCalibration\nx: 3c92aa10\n")
    (found,) = lift(tmp_path / "c.cache", {}).activations.values()
    assert found.scale is not None
    assert found.scale == struct.unpack(">f", bytes.fromhex("3c92aa10"))[0]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("images: 3c010a14\n", 1),
        ("TRT-8600-EntropyCalibration2\nimages 3c010a14\n", 2),
        ("TRT-8600-EntropyCalibration2\nimages: 3c010a1\nx: 3c01zz14\n", 3),
        ("TRT-8600-EntropyCalibration2\nx: 3c010a140\n", 2),
        ("TRT-8600-EntropyCalibration2\nx: 3c010a14\nx: 3c010a15\n", 3),
    ],
)
def test_a_broken_line_is_named(text: str, line: int, tmp_path: Path) -> None:
    (tmp_path / "c.cache").write_text(text)
    with pytest.raises(FormatError, match=f"line {line}:"):
        lift(tmp_path / "c.cache", {})


def test_a_cut_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.cache").write_text(TRAPS)
    w2e_bridge.convert(tmp_path / "c.cache", to="calibration_table", out=tmp_path / "t.flatbuffers")
    data = (tmp_path / "t.flatbuffers").read_bytes()
    refused = 0
    for size in range(1, len(data), 3):
        (tmp_path / "cut.flatbuffers").write_bytes(data[:size])
        try:
            w2e_bridge.open(tmp_path / "cut.flatbuffers")
        except FormatError:
            refused += 1
    assert refused > len(range(1, len(data), 3)) * 0.9


@pytest.mark.parametrize(
    ("signed", "zero", "scale", "grade"),
    [
        (True, 0, 0.5, Grade.EXACT),
        (False, 128, 0.5, Grade.EXACT),
        (False, 0, 0.5 * 255 / 127, Grade.REQUANTIZED),
        (True, 3, 0.5 * 131 / 127, Grade.REQUANTIZED),
    ],
)
def test_the_symmetric_range_covers_the_old_one(
    signed: bool, zero: int, scale: float, grade: Grade
) -> None:
    found = ActivationQuantization(
        codes=Integer(bits=8, signed=signed),
        scale=np.float32(0.5) * np.ones((), np.float32),
        zero_point=np.asarray(zero),
    )
    new, loss = symmetric("x", found)
    assert loss.grade is grade
    assert new == np.float32(scale)


def test_float_codes_reach_as_far_as_their_largest_number() -> None:
    found = ActivationQuantization(
        codes=Float(name="float8_e4m3fn"), scale=np.asarray(0.5, np.float32)
    )
    scale, loss = symmetric("x", found)
    assert scale == scale_of(224.0)
    assert loss.grade is Grade.REQUANTIZED
    assert loss.reason == "a symmetric range that covers [-448, 448] steps"


def test_codes_whose_reach_is_not_known_are_refused() -> None:
    codes = Table(name="t", values=tuple(map(float, range(16))))
    with pytest.raises(UnsupportedError, match="no range that is known"):
        symmetric("x", ActivationQuantization(codes=codes, scale=np.asarray(0.5, np.float32)))
