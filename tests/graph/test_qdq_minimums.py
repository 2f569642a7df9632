"""Minimums of blocks as additions, and back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from tests.graph.support import identity_model, run, same_bits, tensor, write
from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.qdq import fold, unfold
from w2e_bridge.graph.qdq_minimums import add_minimums
from w2e_bridge.graph.rewriting import constant
from w2e_bridge.graph.serialize import open_model
from w2e_bridge.ir.codes import Integer
from w2e_bridge.ir.encoding import FLOAT32, Encoding, Offset, OffsetKind
from w2e_bridge.ir.parts import Parts
from w2e_bridge.ir.tensor import Tensor

CASES = {
    "rows": ((3, 64), (32,)),
    "columns": ((64, 5), (16, 1)),
    "three axes": ((2, 3, 64), (32,)),
    "middle axis": ((2, 32, 5), (16, 1)),
}
"""Shapes and blocks."""


def affine(shape: tuple[int, ...], block: tuple[int, ...]) -> Tensor:
    chance = np.random.default_rng(1)
    rows, columns = int(np.prod(shape[:-1])), shape[-1]
    extents = (1,) * (len(shape) - len(block)) + block
    grid = [n // e for n, e in zip(shape, extents, strict=True)]
    scale, bias = chance.normal(size=(2, *grid)).astype(np.float32)
    up = extents[-2] if len(shape) > 1 else 1
    each = [np.repeat(a, up, axis=-2).reshape(rows, -1) for a in (np.abs(scale), bias)]
    parts = Parts(
        codes=chance.integers(0, 16, (rows, columns)).astype(np.int8),
        scale=Parts(codes=each[0]),
        offset=Parts(codes=each[1]),
    )
    offset = Offset(kind=OffsetKind.BIAS, encoding=FLOAT32)
    codes = Integer(bits=8, signed=True)
    encoding = Encoding(codes=codes, block=block, scale=FLOAT32, offset=offset)
    return tensor("w", encoding, parts, shape)


@pytest.mark.parametrize("name", CASES)
def test_minimums_are_a_pair(name: str, tmp_path: Path) -> None:
    source = affine(*CASES[name])
    editor = Editor(model=identity_model({"w": source}, opset=21), tensors={"w": source})
    add_minimums(editor)
    unfold(editor, {})
    path = write(tmp_path, editor.model, editor.tensors)
    assert same_bits(run(path)["w.out"], source.dequantize())
    opened = open_model(path)
    again = Editor(model=opened.model, tensors=dict(opened.tensors))
    fold(again)
    assert [node.op_type for node in again.nodes()] == ["Identity"]
    assert again.tensors["w"].encoding == source.encoding
    assert same_bits(again.tensors["w"].dequantize(), source.dequantize())


def test_sums_of_other_blocks_stay(tmp_path: Path) -> None:
    source = affine((3, 64), (32,))
    editor = Editor(model=identity_model({"w": source}, opset=21), tensors={"w": source})
    add_minimums(editor)
    first = next(node for node in editor.nodes() if node.op_type == "Reshape")
    graph = first.graph
    assert isinstance(graph, ir.Graph)
    first.replace_input_with(1, constant(graph, "other", np.asarray([6, 1, 32], np.int64)))
    unfold(editor, {})
    opened = open_model(write(tmp_path, editor.model, editor.tensors))
    again = Editor(model=opened.model, tensors=dict(opened.tensors))
    fold(again)
    assert "Add" in {node.op_type for node in again.nodes()}
