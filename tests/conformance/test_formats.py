"""Every installed format, through the same door as a third party's."""

from __future__ import annotations

from pathlib import Path

import gguf
import pytest

import w2e_bridge
from w2e_bridge.formats.registry import formats
from w2e_bridge.formats.spec import Format
from w2e_bridge.ir.model import Model
from w2e_bridge.testing import conformance
from w2e_bridge.testing.models import ZOO

FIXTURES = Path(__file__).parents[2] / "fixtures"
FIXTURE = FIXTURES / "gguf" / "llama-Q4_0.gguf"
NETWORK = FIXTURES / "tflite" / "convnet_int8.tflite"
CACHE = "TRT-8600-EntropyCalibration2\nimages: 3c010a14\n(Unnamed Layer* 4)_output: 3a83126f\n"
RANGES = ("calibration_cache", "calibration_table", "dynamic_ranges")
"""Formats of nothing but scales."""

ALL = list(formats().values())
WRITTEN = [spec for spec in ALL if spec.lower is not None]
KEEPS_ALL = {"w2e"}
"""Formats that must accept every model of the zoo."""


def animal(spec: Format, name: str, folder: Path) -> Model:
    """A model of the zoo, or a real one of a kind that the format is for."""
    if name != "real":
        return ZOO[name]()
    if spec.name == "tflite":
        return w2e_bridge.open(NETWORK)
    if spec.name in RANGES:
        source = folder / "source.cache"
        source.write_text(CACHE)
        return w2e_bridge.open(source)
    return w2e_bridge.open(FIXTURE)


def must_accept(spec: Format, name: str) -> bool:
    return name == "real" or spec.name in KEEPS_ALL


@pytest.mark.parametrize("spec", ALL, ids=lambda spec: spec.name)
def test_record(spec: Format) -> None:
    conformance.check_record(spec)
    conformance.check_profiles(spec)


@pytest.mark.parametrize("name", [*ZOO, "real"])
@pytest.mark.parametrize("spec", WRITTEN, ids=lambda spec: spec.name)
def test_round_trip(spec: Format, name: str, tmp_path: Path) -> None:
    accepted = conformance.check_round_trip(spec, animal(spec, name, tmp_path), tmp_path)
    assert accepted or not must_accept(spec, name)


@pytest.mark.parametrize("name", ["two_levels", "real"])
@pytest.mark.parametrize("spec", WRITTEN, ids=lambda spec: spec.name)
def test_same_bytes_twice(spec: Format, name: str, tmp_path: Path) -> None:
    accepted = conformance.check_deterministic(spec, animal(spec, name, tmp_path), tmp_path)
    assert accepted or not must_accept(spec, name)


@pytest.mark.parametrize("spec", WRITTEN, ids=lambda spec: spec.name)
def test_truncated(spec: Format, tmp_path: Path) -> None:
    for folder in ("in", "cuts"):
        (tmp_path / folder).mkdir()
    path = conformance.lowered(animal(spec, "real", tmp_path), spec, tmp_path / "in")
    assert path is not None
    for companion in path.parent.iterdir():
        if companion != path:
            (tmp_path / "cuts" / companion.name).write_bytes(companion.read_bytes())
    conformance.check_truncated(spec, path, tmp_path / "cuts")


def stored(path: Path) -> dict[str, bytes]:
    """The packed bytes of every tensor of a GGUF file, as gguf-py reads them."""
    return {t.name: t.data.tobytes() for t in gguf.GGUFReader(path).tensors}


def test_the_way_back_to_gguf_is_byte_equal_through_the_canonical_file(tmp_path: Path) -> None:
    kept, back = tmp_path / "model.w2e.safetensors", tmp_path / "back.gguf"
    w2e_bridge.convert(FIXTURE, to="w2e", out=kept)
    w2e_bridge.convert(kept, to="gguf", out=back)
    assert stored(back) == stored(FIXTURE)
