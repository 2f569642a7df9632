"""What the weight forms compute in ONNX Runtime, against the decoded source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from w2e_bridge.formats.spec import Request
from w2e_bridge.graph.weights import weight
from w2e_bridge.ir.layout import Layout
from w2e_bridge.ir.model import Model
from w2e_bridge.ir.tensor import PackedStorage, Tensor
from w2e_bridge.negotiation.negotiate import negotiate
from w2e_bridge.stream.pipeline import write
from w2e_gguf.blocks.table import TYPES
from w2e_onnx.profiles import ORT_CPU
from w2e_onnx.write import lower

COLUMNS, IDS = 512, np.array([[3, 0, 6]], np.int64)
NAMES = [t.name for t in TYPES.values() if t.elements > 1 and t.name not in ("Q8_1", "Q8_K")]
NUMBERS = {t.name: t.id for t in TYPES.values()}
SCALES = {"d", "dmin", "m"}


class Held:
    def __init__(self, data: NDArray[np.uint8]) -> None:
        self.data = data

    def read(self, offset: int, count: int) -> NDArray[np.uint8]:
        return self.data[offset : offset + count]


def floats(kind: str, random: np.random.Generator, count: int) -> NDArray[np.uint8]:
    values = random.normal(size=count).astype(np.float32)
    if kind == "BF16":
        return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    return values.astype({"F16": np.float16, "F32": np.float32}[kind]).view(np.uint8)


def tensor(name: str, kind: str, rows: int, order: int = 0) -> Tensor:
    """Random blocks whose float16 scales are small and finite."""
    row = TYPES[NUMBERS[kind]]
    random = np.random.default_rng(len(name) + rows + order)
    if row.elements == 1:
        return packed(name, row.layout, rows, order, floats(kind, random, rows * COLUMNS))
    fields = random.integers(
        0, 256, (rows * COLUMNS // row.elements, row.bytes), dtype=np.uint8
    ).reshape(-1)
    blocks = fields.view(row.codec.struct)
    for field in row.codec.struct.names or ():
        if field in SCALES and row.codec.struct[field] == np.dtype("<f2"):
            blocks[field] = random.normal(scale=0.01, size=len(blocks)).astype(np.float16)
        elif kind in ("MXFP4", "NVFP4") and field in ("e", "d"):
            blocks[field] = random.integers(110, 120, blocks[field].shape) // (
                1 + (kind == "NVFP4")
            )
    if kind == "IQ1_M":  # its scale lies in the high nibbles of four words: 0x2000 is 2^-7
        words = blocks["scales"].view(np.uint16).reshape(-1, 4)
        words &= 0x0FFF
        words[:, 3] |= 0x2000
    return packed(name, row.layout, rows, order, fields)


def packed(name: str, layout: Layout, rows: int, order: int, data: NDArray[np.uint8]) -> Tensor:
    storage = PackedStorage(layout=layout, columns=COLUMNS, source=Held(data))
    return Tensor(
        name=name, shape=(rows, COLUMNS), dtype="float32", encoding=layout.encoding,
        storage=storage, order=order,
    )  # fmt: skip


def network(table: Tensor, *matrices: Tensor) -> Model:
    """Rows of the first matrix, multiplied with every other one (or with itself, if it is alone)."""
    ids = ir.Value(name="ids", type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape(["b", "s"]))
    graph = ir.Graph([ids], [], nodes=[], opset_imports={"": 23}, name="net")
    rows = ir.node("Gather", [weight(graph, table), ids], name="rows")
    rows.outputs[0].name = "rows"
    graph.append(rows)
    outputs = [rows.outputs[0]]
    for matrix in matrices or (table,):
        turned = ir.node("Transpose", [weight(graph, matrix)], {"perm": [1, 0]})
        product = ir.node("MatMul", [rows.outputs[0], turned.outputs[0]])
        product.outputs[0].name = f"y.{matrix.name}"
        graph.extend([turned, product])
        outputs.append(product.outputs[0])
    for output in outputs:
        output.type = ir.TensorType(ir.DataType.FLOAT)
        output.shape = ir.Shape(["b", "s", None])
        graph.outputs.append(output)
    tensors = {t.name: t for t in (table, *matrices)}
    return Model(tensors=tensors, graph=ir.Model(graph, ir_version=10))


def run(model: Model, folder: Path, mode: str) -> list[NDArray[np.float32]]:
    request = Request(profile="ort-cpu", options={"activations": mode})
    output = lower(model, negotiate(model, ORT_CPU, request), request)
    write(output, folder, name=lambda n: n.replace("{stem}", "model"))
    session = ort.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    results: list[NDArray[np.float32]] = session.run(None, {"ids": IDS})
    return results


@pytest.mark.parametrize("kind", NAMES)
def test_a_tied_matrix_is_gathered_and_multiplied(kind: str, tmp_path: Path) -> None:
    table = tensor("table", kind, 8)
    values = table.dequantize()
    rows, product = run(network(table), tmp_path, "float")
    assert np.array_equal(rows, values[IDS])
    want = values[IDS].astype(np.float64) @ values.T.astype(np.float64)
    assert np.abs(product - want).max() <= 2e-6 * np.abs(want).max() * 8


@pytest.mark.parametrize("kind", ["Q4_0", "Q8_0", "Q4_K", "Q5_K", "Q6_K", "Q3_K", "IQ1_S", "TQ2_0"])
def test_products_of_one_input_are_one_matrix(kind: str, tmp_path: Path) -> None:
    table = tensor("table", "F16", 8)
    matrices = [tensor(f"m{n}", kind, 16 + 8 * n, order=n + 1) for n in range(3)]
    rows, *products = run(network(table, *matrices), tmp_path, "float")
    graph = ir.load(tmp_path / "model.onnx").graph
    assert sum(node.op_type.startswith("MatMul") for node in graph) == 1
    assert np.array_equal(rows, table.dequantize()[IDS])
    for matrix, product in zip(matrices, products, strict=True):
        want = rows.astype(np.float64) @ matrix.dequantize().T.astype(np.float64)
        assert np.abs(product - want).max() <= 1e-5 * np.abs(want).max()


@pytest.mark.parametrize(
    "kind", ["Q4_0", "Q8_0", "Q4_K", "Q5_K", "Q6_K", "IQ2_XXS", "TQ2_0", "Q1_0"]
)
def test_activations_of_eight_bits_are_near(kind: str, tmp_path: Path) -> None:
    table, matrix = tensor("table", "F16", 8), tensor("m", kind, 64, order=1)
    rows, product = run(network(table, matrix), tmp_path, "int8")
    want = rows.astype(np.float64) @ matrix.dequantize().T.astype(np.float64)
    assert np.linalg.norm(product - want) <= 0.02 * np.linalg.norm(want)


@pytest.mark.parametrize("kind", ["F32", "F16", "BF16"])
def test_floats_are_stored_as_they_are(kind: str, tmp_path: Path) -> None:
    table, matrix = tensor("table", "F16", 8), tensor("m", kind, 64, order=1)
    rows, product = run(network(table, matrix), tmp_path, "int8")
    want = rows.astype(np.float64) @ matrix.dequantize().T.astype(np.float64)
    assert np.abs(product - want).max() <= 1e-5 * np.abs(want).max()
    assert (tmp_path / "model.onnx.data").stat().st_size < table.nbytes + matrix.nbytes + 256
