"""A kind with constant weights on real numbers: built, found again, and run beside LiteRT's own kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.kernels.pairs import found
from tests.w2e_onnx.litert.harness import Data, model_of
from tests.w2e_onnx.litert.weighed import Weighed
from w2e_bridge.kernels.operation import Attribute

Array = NDArray[Any]


def drawn(*shape: int, seed: int = 0, constant: bool = False) -> Data:
    """Real numbers."""
    array = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return Data(type="float32", array=array, constant=constant)


def weights(*shape: int) -> Data:
    """Constant real numbers."""
    return drawn(*shape, seed=1, constant=True)


def target(*shape: int) -> Data:
    """The extents of an output, as an operand."""
    return Data(type="int32", array=np.asarray(shape, np.int32), constant=True)


def check(
    kind: str,
    operands: Sequence[Data | None],
    shape: tuple[int, ...],
    attributes: Mapping[str, Attribute],
) -> None:
    """The pair fits, and computes what LiteRT computes."""
    output = Data(type="float32", shape=shape)
    case = Weighed(kind=kind, operands=operands, output=output, attributes=attributes)
    again, scope = found(model_of(kind, operands, [output], attributes))
    assert again.kind == kind
    assert {k: v for k, v in again.attributes.items() if k in attributes} == attributes
    assert len(again.inputs) == len(operands)
    for operand, wanted in zip(again.inputs, operands, strict=True):
        if wanted is not None and wanted.constant:
            tensor = scope.tensor(operand)
            array = scope.array(operand) if tensor is None else tensor.dequantize()
            np.testing.assert_array_equal(array, wanted.array)
    got = case.got(case.onnx(reference=False), optimize=True)
    want = case.wanted(reference=False)
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5 * np.abs(want).max())
