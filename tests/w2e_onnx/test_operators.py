"""Every quantized operator of ONNX Runtime: lifted, written out as plain nodes, and run beside the original."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.graph.support import AnyArray, run, write
from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.qdq import unfold
from w2e_bridge.ir.codes import Integer
from w2e_bridge.ir.model import Model
from w2e_onnx.read import lift
from w2e_onnx.recognise_operators_table import ROWS

MICROSOFT = "com.microsoft"
TYPES = {"uint8": TensorProto.UINT8, "int8": TensorProto.INT8, "bool": TensorProto.BOOL}
ZEROS = {"uint8": (100, 130), "int8": (-20, 3)}
"""Zero points of operands and of results."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One node. Inputs: a shape = codes with a scale and a zero point after it; "y" = those of the result;
    an array = a constant; a name = an input of that type and shape. `lsb`: how far the runtime's own kernel is
    from real numbers (its softmax looks exponents up); `kernel`: whether it has one."""

    op: str
    inputs: Sequence[object]
    output: Sequence[int]
    domain: str = MICROSOFT
    attributes: Mapping[str, Any] = field(default_factory=dict)
    lifted: Sequence[str] = ()
    types: Sequence[str] = ("uint8", "int8")
    lsb: int = 0
    kernel: bool = True


def weights(shape: tuple[int, ...], axis: int | None, dtype: str = "int8") -> list[AnyArray]:
    """Codes, scales and zero points of constants.

    The codes have 7 bits: without VNNI, products of uint8 and int8 saturate in the runtime's kernels.
    """
    chance = np.random.default_rng(7)
    count = 1 if axis is None else shape[axis]
    scale = chance.uniform(0.01, 0.02, count).astype(np.float32)
    codes = chance.integers(*((-64, 64) if dtype == "int8" else (0, 256)), shape).astype(dtype)
    zero = np.full(count, 0 if dtype == "int8" else 120, dtype)
    return [codes, *(a.reshape(()) if axis is None else a for a in (scale, zero))]


def bias(count: int) -> AnyArray:
    return np.random.default_rng(3).integers(-3000, 3000, count).astype(np.int32)


CASES = [
    Case(op="QLinearConv", domain="", inputs=[(1, 3, 6, 6), *weights((4, 3, 3, 3), 0), "y", bias(4)],
         output=(1, 4, 6, 6), attributes={"pads": [1, 1, 1, 1]}, lifted=["Conv"]),
    Case(op="QLinearConv", domain="", inputs=[(1, 4, 6, 6), *weights((4, 1, 3, 3), None, "uint8"), "y"],
         output=(1, 4, 4, 4), attributes={"group": 4}, lifted=["Conv"], types=["uint8"]),
    Case(op="QLinearConv", inputs=[(1, 6, 6, 3), *weights((4, 3, 3, 3), 0), "y", bias(4)],
         output=(1, 3, 3, 4), attributes={"channels_last": 1, "strides": [2, 2], "auto_pad": "SAME_UPPER"},
         lifted=["Transpose", "Conv", "Transpose"]),
    Case(op="QLinearConv", inputs=[(1, 9, 3), *weights((4, 3, 3), 0), "y"], output=(1, 7, 4),
         attributes={"channels_last": 1}, lifted=["Transpose", "Conv", "Transpose"]),
    Case(op="QLinearMatMul", domain="", inputs=[(2, 5), *weights((5, 3), 1), "y"], output=(2, 3),
         lifted=["Transpose", "MatMul"]),
    Case(op="QLinearMatMul", domain="", inputs=[(2, 2, 5), *weights((5, 3), None, "uint8"), "y"],
         output=(2, 2, 3), lifted=["Transpose", "MatMul"], types=["uint8"]),
    Case(op="QLinearMatMul", domain="", inputs=[(2, 5), (5, 3), "y"], output=(2, 3), lifted=["MatMul"]),
    Case(op="QGemm", inputs=[(2, 5), *weights((3, 5), 0), bias(3), "y"], output=(2, 3),
         attributes={"transB": 1}, lifted=["Gemm"]),
    Case(op="QGemm", inputs=[(2, 5), *weights((5, 3), 1), None, "y"], output=(2, 3),
         lifted=["Gemm"]),
    Case(op="QLinearAdd", inputs=[(2, 5), (1, 5), "y"], output=(2, 5), lifted=["Add"]),
    Case(op="QLinearAdd", inputs=[(2, 5), *weights((5,), None, "uint8"), "y"], output=(2, 5),
         lifted=["Add"], types=["uint8"]),
    Case(op="QLinearMul", inputs=[(2, 5), (2, 5), "y"], output=(2, 5), lifted=["Mul"]),
    Case(op="QLinearSigmoid", inputs=[(40,), "y"], output=(40,), lifted=["Sigmoid"]),
    Case(op="QLinearLeakyRelu", inputs=[(40,), "y"], output=(40,), attributes={"alpha": 0.125},
         lifted=["LeakyRelu"]),
    Case(op="QLinearSoftmax", inputs=[(3, 7), "y"], output=(3, 7), attributes={"axis": 0, "opset": 13},
         lifted=["Softmax"], lsb=1),
    Case(op="QLinearSoftmax", inputs=[(3, 7), "y"], output=(3, 7), attributes={"axis": 1, "opset": 11},
         lifted=["Softmax"], lsb=1),
    Case(op="QLinearAveragePool", inputs=[(1, 2, 6, 6), "y"], output=(1, 2, 5, 5),
         attributes={"kernel_shape": [2, 2]}, lifted=["AveragePool"]),
    Case(op="QLinearAveragePool", inputs=[(1, 6, 6, 2), "y"], output=(1, 3, 3, 2),
         attributes={"kernel_shape": [2, 2], "strides": [2, 2], "channels_last": 1},
         lifted=["Transpose", "AveragePool", "Transpose"]),
    Case(op="QLinearGlobalAveragePool", inputs=[(1, 6, 6, 2), "y"], output=(1, 1, 1, 2),
         attributes={"channels_last": 1}, lifted=["Transpose", "GlobalAveragePool", "Transpose"]),
    Case(op="QLinearConcat", inputs=["y", (2, 3), (2, 5)], output=(2, 8), attributes={"axis": 1},
         lifted=["Concat"]),
    Case(op="QLinearReduceMean", inputs=[(2, 3, 4), "y"], output=(2, 1, 4),
         attributes={"axes": [1], "keepdims": 1}, lifted=["ReduceMean"], kernel=False),
    Case(op="QLinearWhere", inputs=["c:2,5", (2, 5), (2, 5), "y"], output=(2, 5), lifted=["Where"]),
    Case(op="NhwcMaxPool", inputs=["x:1,6,6,2", ], output=(1, 3, 3, 2),
         attributes={"kernel_shape": [2, 2], "strides": [2, 2]}, types=()),
]  # fmt: skip


def parameters(name: str, dtype: str, number: int) -> list[onnx.TensorProto]:
    zero = np.array(ZEROS[dtype][number > 0], dtype)
    scale = np.float32([0.02, 0.03, 0.05][number])
    if name == "y":
        scale, zero = np.float32(0.041), np.array(ZEROS[dtype][1], dtype)
    arrays = {f"{name}_scale": np.asarray(scale, np.float32), f"{name}_zero_point": zero}
    return [numpy_helper.from_array(array, key) for key, array in arrays.items()]


def build(case: Case, dtype: str, path: Path) -> dict[str, NDArray[Any]]:
    """Write the model of a case; feeds for it."""
    chance = np.random.default_rng(11)
    names: list[str] = []
    inputs: list[onnx.ValueInfoProto] = []
    constants: list[onnx.TensorProto] = []
    feeds: dict[str, NDArray[Any]] = {}
    info = np.iinfo(dtype)
    for item in case.inputs:
        if isinstance(item, np.ndarray):
            name = f"k{len(constants)}"
            constants.append(numpy_helper.from_array(item, name))
            names.append(name)
        elif isinstance(item, tuple):
            name = f"x{len(inputs)}"
            arrays = parameters(name, dtype, len(inputs))
            constants += arrays
            names += [name, *(array.name for array in arrays)]
            inputs.append(helper.make_tensor_value_info(name, TYPES[dtype], item))
            feeds[name] = chance.integers(info.min, info.max + 1, item).astype(dtype)
        elif item == "y":
            arrays = parameters("y", dtype, 1)
            constants += arrays
            names += [array.name for array in arrays]
        elif isinstance(item, str):
            name, extents = item.split(":")
            shape = [int(n) for n in extents.split(",")]
            inputs.append(helper.make_tensor_value_info(name, TensorProto.BOOL, shape))
            feeds[name] = chance.integers(0, 2, shape).astype(bool)
            names.append(name)
        else:
            names.append("")
    node = helper.make_node(case.op, names, ["y"], domain=case.domain, **case.attributes)
    save(
        path,
        [node],
        inputs,
        [helper.make_tensor_value_info("y", TYPES[dtype], case.output)],
        constants,
    )
    return feeds


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: list[onnx.TensorProto],
    opset: int = 21,
) -> Path:
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    versions = [helper.make_opsetid("", opset), helper.make_opsetid(MICROSOFT, 1)]
    onnx.save(helper.make_model(graph, opset_imports=versions, ir_version=10), path)
    return path


def again(model: Model, folder: Path) -> Path:
    """A lifted model as plain nodes."""
    assert model.graph is not None
    folder.mkdir()
    editor = Editor(model=model.graph.clone(), tensors=dict(model.tensors))
    unfold(editor, model.activations)
    return write(folder, editor.model, editor.tensors)


def difference(a: AnyArray, b: AnyArray) -> int:
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    return int(np.abs(a.astype(np.int64) - b.astype(np.int64)).max())


@pytest.mark.parametrize(
    ("case", "dtype"),
    [(case, dtype) for case in CASES for dtype in case.types],
    ids=lambda item: f"{item.op}-{item.output}" if isinstance(item, Case) else item,
)
def test_an_operator_on_public_codes(case: Case, dtype: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    feeds = build(case, dtype, path)
    model = lift(path, {})
    assert not model.remarks
    assert model.graph is not None
    assert [node.op_type for node in model.graph.graph] == case.lifted
    codes = Integer(bits=8, signed=dtype == "int8")
    public = [name for name in (*feeds, "y") if name != "c"]
    assert {name: model.activations[name].codes for name in public} == dict.fromkeys(public, codes)
    assert set(model.activations) == set(public)
    found = run(again(model, tmp_path / "again"), feeds)["y"]
    if case.kernel:
        assert difference(found, run(path, feeds)["y"]) <= case.lsb


def test_all_rows_have_a_case() -> None:
    assert {key for key in ROWS if key[1] != "QLinearConv"} <= {(c.domain, c.op) for c in CASES}
