"""What exporters for TensorRT write, folded into properties; decoded by the formulas of their documentation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.graph.support import run, same_bits, write
from tests.w2e_onnx.trt_exports import EXPORTS, Export
from tests.w2e_tensorrt.runtime import Parsed
from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.qdq import unfold
from w2e_bridge.ir.model import Model
from w2e_onnx.read import lift


def read(export: Export, folder: Path) -> Model:
    path = folder / "source.onnx"
    path.write_bytes(export.model)
    return lift(path, {})


@pytest.mark.parametrize("name", EXPORTS)
def test_exports_become_properties(name: str, tmp_path: Path) -> None:
    export = EXPORTS[name]()
    model = read(export, tmp_path)
    assert model.graph is not None
    left = {node.op_type for node in model.graph.graph}
    assert not {op for op in left if "Quantize" in op or op.startswith("TRT_")}, left
    weight = model.tensors[export.weight]
    assert str(weight.encoding) == export.encoding
    np.testing.assert_array_equal(weight.dequantize(), export.values)
    found = [(str(p.codes), p.mode.value) for p in model.activations.values()]
    assert found == ([] if export.activation is None else [export.activation])


@pytest.mark.parametrize("name", EXPORTS)
def test_tensorrt_reads_what_is_tested(name: str) -> None:
    export = EXPORTS[name]()
    parsed = Parsed(export.model)
    assert parsed.ok is export.parsed, parsed.errors


@pytest.mark.parametrize("name", [n for n in EXPORTS if EXPORTS[n]().standard])
def test_written_out_again_it_computes_the_same(name: str, tmp_path: Path) -> None:
    export = EXPORTS[name]()
    model = read(export, tmp_path)
    assert model.graph is not None
    editor = Editor(model=model.graph, tensors=dict(model.tensors))
    unfold(editor, model.activations)
    path = write(tmp_path, model.graph, editor.tensors)
    source = onnx.load(tmp_path / "source.onnx")
    shape = [d.dim_value for d in source.graph.input[0].type.tensor_type.shape.dim]
    kind = onnx.helper.tensor_dtype_to_np_dtype(source.graph.input[0].type.tensor_type.elem_type)
    x = np.random.default_rng(1).normal(size=shape).astype(kind)
    want, got = run(tmp_path / "source.onnx", {"x": x}), run(path, {"x": x})
    assert want.keys() == got.keys()
    for key in want:
        assert same_bits(want[key], got[key])
