"""A canonical file in between changes nothing: the target's bytes are those of the direct way."""

from __future__ import annotations

from pathlib import Path

import pytest

import w2e_bridge.api as api

FIXTURES = Path(__file__).parents[2] / "fixtures" / "gguf"
MODELS = sorted(FIXTURES.glob("*.gguf"))


@pytest.mark.parametrize("source", MODELS, ids=lambda path: path.stem)
def test_as_the_direct_way(source: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.w2e.safetensors"
    api.convert(source, to="w2e", out=kept, audit="full")
    for target in ("gguf", "onnx"):
        direct, through = (tmp_path / f"{way}-{target}" for way in ("direct", "through"))
        api.convert(source, to=target, out=direct)
        api.convert(kept, to=target, out=through)
        files = {path.name: path for path in direct.iterdir() if "report" not in path.name}
        assert files
        for name, path in files.items():
            assert (through / name).read_bytes() == path.read_bytes(), name


@pytest.mark.parametrize("source", MODELS, ids=lambda path: path.stem)
def test_packed_again_the_tensors_have_their_bytes(source: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.w2e.safetensors"
    api.convert(source, to="w2e", out=kept, audit="none")
    found, expected = api.open(kept), api.open(source)
    assert list(found.tensors) == list(expected.tensors)
    for name, one in expected.tensors.items():
        layout = one.storage.layout
        assert layout is not None
        assert layout.pack is not None
        again = layout.pack(found.tensors[name].storage.parts(0, one.rows))
        assert again.tobytes() == one.storage.raw(0, one.rows).tobytes()
