"""Whatever a file holds: a model, or an error that names it."""

from __future__ import annotations

import json
import struct
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import w2e_bridge
from tests.w2e_tensorrt.hints.test_documents import NEW, OLD_LAYERS
from tests.w2e_tensorrt.hints.test_servers import NVINFER, TRITON, YAML
from tests.w2e_tensorrt.hints.test_trtexec import COMMAND, LINES
from w2e_bridge.errors import BridgeError
from w2e_bridge.fidelity.report import to_json
from w2e_bridge.ir.model import Model

NAMES = (
    "a.args", "a_layer_arg.txt", "build.json", "a_precision_config.json", "a.json",
    "hf_quant_config.json", "a.txt", "a.yml", "config.pbtxt", "a.engine", "a.cache",
    "dynamic_ranges.txt",
)  # fmt: skip

METADATA = b'{"task": "detect"}'
BUILD = {"schema": 1, "tensorrt": ">=11", "profiles": [{"x": {"min": [1], "opt": [1], "max": [1]}}]}
CHECKPOINT = {"quantization": {"quant_algo": "NVFP4", "quantized_layers": {"a": {}}}}
WHOLE: dict[str, bytes] = {
    "a.args": LINES.encode(),
    "b.args": COMMAND.encode(),
    "a.txt": NVINFER.encode(),
    "a.yml": YAML.encode(),
    "config.pbtxt": TRITON.encode(),
    "old.json": json.dumps({"Layers": OLD_LAYERS, "Bindings": []}).encode(),
    "new.json": json.dumps(NEW).encode(),
    "build.json": json.dumps(BUILD).encode(),
    "hf_quant_config.json": json.dumps(CHECKPOINT).encode(),
    "a_precision_config.json": b'{"int8_tensor_scales": {"x": 1e-3}, "fp16_nodes": ["a"]}',
    "a.cache": b"TRT-8600-EntropyCalibration2\nx: 3c010a14\ny: 0\n",
    "a.engine": struct.pack("<i", len(METADATA)) + METADATA + b"ftrt" + bytes(40),
}
PIECES = st.one_of(
    st.binary(max_size=6),
    st.sampled_from(
        [b"{", b"}", b"[", b"]", b"'", b'"', b":", b"=", b",", b"\\", b"\n", b"--", b"null", b"1e999",
         b"-1", b"9" * 30, b"\xff", b"\0", b"\xe2\x80\xa8", b"true", b"\\ud800", b'"x"', b"{}", b"[]"]
    ),
)  # fmt: skip


def judge(name: str, data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        for use in (w2e_bridge.open, w2e_bridge.api.inspect):
            try:
                found = use(path)
            except BridgeError as error:
                assert name in str(error)
                assert error.exit_code == 2
            else:
                assert to_json(found.hints.values if isinstance(found, Model) else found)


@settings(deadline=None, max_examples=80)
@given(st.sampled_from(NAMES), st.binary(max_size=60))
def test_any_bytes(name: str, data: bytes) -> None:
    judge(name, data)


@settings(deadline=None, max_examples=250)
@given(st.data(), st.sampled_from(sorted(WHOLE)))
def test_pieces_in_a_good_file(data: st.DataObject, name: str) -> None:
    whole = WHOLE[name]
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, min(len(whole), start + 8)))
    judge(name, whole[:start] + data.draw(PIECES) + whole[stop:])


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_every_cut(name: str) -> None:
    whole = WHOLE[name]
    for stop in range(0, len(whole), 1 + len(whole) // 40):
        judge(name, whole[:stop])
