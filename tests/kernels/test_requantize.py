"""Changes of type, and joining, as nodes and back."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernels.pairs import Case, found, read
from tests.w2e_onnx.litert.harness import Data, model_of
from w2e_bridge.kernels.operation import Attribute

A = np.asarray([[1.5, -2.25, 3], [-1, 0, 5]], np.float32)
CODES = np.asarray([[1, -2, 3], [-1, 0, 5]], np.int8)
REAL = Data(type="float32", array=A)


def quantized(scale: float, dtype: str = "int8") -> Data:
    """Codes of a scale."""
    return Data(type=dtype, array=CODES.astype(dtype), shape=A.shape, scale=scale)


@pytest.mark.parametrize(
    ("x", "y", "kind"),
    [
        (REAL, quantized(0.5), "quantize"),
        (quantized(0.5), REAL, "dequantize"),
        (quantized(0.5), quantized(0.25), "quantize"),
        (quantized(0.5), quantized(0.5, "uint8"), "quantize"),
        (quantized(0.5), quantized(0.5), "quantize"),
    ],
)
def test_identities_change_codes(x: Data, y: Data, kind: str) -> None:
    again, _ = found(model_of(kind, [x], [y], {}))
    assert again.kind == kind
    assert len(again.nodes) == 1


@pytest.mark.parametrize("into", ["int32", "bool", "int64", "uint8"])
def test_casts(into: str) -> None:
    attributes: dict[str, Attribute] = {"in_data_type": "FLOAT32", "out_data_type": into.upper()}
    case = Case(kind="cast", inputs=[A * A], attributes=attributes, shape=A.shape, dtype=into)
    again, _ = found(case.model())
    assert dict(again.attributes) == attributes
    np.testing.assert_array_equal(case.by_onnxruntime(), case.by_litert())


@pytest.mark.parametrize("axis", [0, 1])
def test_concatenation(axis: int) -> None:
    attributes: dict[str, Attribute] = {"axis": axis, "fused_activation_function": "NONE"}
    shape = (4, 3) if axis == 0 else (2, 6)
    Case(kind="concatenation", inputs=[A, -A], attributes=attributes, shape=shape).check()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_packing(axis: int) -> None:
    attributes: dict[str, Attribute] = {"values_count": 2, "axis": axis}
    shape = tuple(np.stack([A, A], axis).shape)
    Case(kind="pack", inputs=[A, -A], attributes=attributes, shape=shape).check()


def test_axes_from_behind_are_counted_from_the_front() -> None:
    attributes: dict[str, Attribute] = {"axis": -1, "fused_activation_function": "NONE"}
    case = Case(kind="concatenation", inputs=[A, A], attributes=attributes, shape=(2, 6))
    assert found(case.model())[0].integer("axis") == 1


def test_packing_is_not_found_where_one_part_is_read_elsewhere() -> None:
    nodes = "a = Unsqueeze(x, one); b = Unsqueeze(z, two); y = Concat<axis = 1>(a, b)"
    with pytest.raises(AssertionError):
        read(nodes, {"x": [2, 3], "z": [2, 3]}, {"one": 1, "two": 2})
