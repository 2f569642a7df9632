"""A canonical file between TensorFlow Lite and anything else changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

import w2e_bridge.api as api
from tests.w2e_tflite.through import same_in_litert

FIXTURES = Path(__file__).parents[2] / "fixtures" / "tflite"
KINDS = (
    "convnet_int8",  # zero points, metadata buffers
    "convnet_dynamic",  # activations whose scale is computed as they come
    "convnet_uint8_old",
    "branches_int8",  # bodies of IF
    "loop_int8",  # and of WHILE
    "leaky_int8",  # a state
    "two_heads_int8",  # two networks
    "sparse_unet_float16_sparse",
    "perceptron_edge_dynamic2",  # blocks
)
FAST = ("convnet_int8", "leaky_int8", "two_heads_int8")


def kept(source: Path, folder: Path) -> Path:
    path = folder / "kept.w2e.safetensors"
    api.convert(source, to="w2e", out=path, audit="full")
    return path


@pytest.mark.parametrize("name", KINDS)
def test_the_way_back_is_as_the_direct_way(name: str, tmp_path: Path) -> None:
    source = FIXTURES / f"{name}.tflite"
    back, direct = tmp_path / "back.tflite", tmp_path / "direct.tflite"
    api.convert(kept(source, tmp_path), to="tflite", out=back)
    api.convert(source, to="tflite", out=direct)
    assert back.read_bytes() == direct.read_bytes()
    if name in FAST:
        same_in_litert(source.read_bytes(), back.read_bytes())


@pytest.mark.parametrize("name", FAST)
def test_the_way_to_onnx_is_as_the_direct_way(name: str, tmp_path: Path) -> None:
    source = FIXTURES / f"{name}.tflite"
    folders = tmp_path / "through", tmp_path / "direct"
    for path, folder in zip((kept(source, tmp_path), source), folders, strict=True):
        api.convert(path, to="onnx", out=folder)
    files = sorted(path.name for path in folders[1].glob("*.onnx"))
    assert files
    for file in files:
        assert (folders[0] / file).read_bytes() == (folders[1] / file).read_bytes(), file


def test_all_that_a_file_says_is_kept(tmp_path: Path) -> None:
    source = FIXTURES / "two_heads_int8.tflite"
    model, again = api.open(source), api.open(kept(source, tmp_path))
    assert again.metadata == model.metadata
    assert again.numerics == model.numerics == "litert"
    assert again.components.keys() == model.components.keys() == {"segment"}
    part, other = model.components["segment"], again.components["segment"]
    assert other.metadata == part.metadata
    assert other.tensors.keys() == part.tensors.keys()
    for name, one in part.activations.items():
        held = other.activations[name]
        assert (held.codes, held.mode, held.scale, held.zero_point) == (
            one.codes, one.mode, one.scale, one.zero_point,
        )  # fmt: skip
