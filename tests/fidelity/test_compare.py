"""Comparison by name, on values first and encodings second."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.fidelity.compare import compare_models
from w2e_bridge.ir.codes import Integer
from w2e_bridge.ir.encoding import FLOAT32, Encoding
from w2e_bridge.ir.model import Model
from w2e_bridge.ir.parts import Parts
from w2e_bridge.ir.tensor import OwnedStorage, Tensor, plain_tensor

CODES = np.arange(-6, 6, dtype=np.int8).reshape(3, 4)
SCALE = np.array([[0.5], [-1.0], [0.25]], np.float32)


def quantized(name: str, codes: NDArray[np.int8] = CODES) -> Tensor:
    encoding = Encoding(codes=Integer(bits=8, signed=True), block=(0,), scale=FLOAT32)
    storage = OwnedStorage(whole=Parts(codes=codes, scale=Parts(codes=SCALE)))
    return Tensor(name=name, shape=(3, 4), dtype="float32", encoding=encoding, storage=storage)


def model(*tensors: Tensor) -> Model:
    return Model(tensors={tensor.name: tensor for tensor in tensors})


def test_equal_models_are_the_same() -> None:
    found = compare_models(model(quantized("w")), model(quantized("w")))
    assert found.same
    assert found.same_encodings
    assert found.pairs[0].bit_equal


def test_another_encoding_of_the_same_values_is_no_difference() -> None:
    tensor = quantized("w")
    found = compare_models(model(tensor), model(plain_tensor("w", tensor.dequantize())))
    assert found.same
    assert not found.same_encodings
    assert found.pairs[0].bit_equal


def test_one_other_code_is_found() -> None:
    codes = CODES.copy()
    codes[1, 2] += 3
    pair = compare_models(model(quantized("w")), model(quantized("w", codes))).pairs[0]
    assert (pair.equal, pair.values, pair.max_abs, pair.same_encoding) == (11, 12, 3.0, True)
    assert not pair.same
    assert not pair.bit_equal


def test_missing_extra_and_computed() -> None:
    one = plain_tensor("a", np.zeros((2, 2), np.float32))
    found = compare_models(
        model(one, quantized("w")), model(quantized("w"), replace(one, name="b"))
    )
    assert (found.missing, found.extra, found.same) == (("a",), ("b",), False)
    table = replace(one, name="rope.cos")
    found = compare_models(model(quantized("w")), model(quantized("w"), table))
    assert (found.computed, found.same) == (("rope.cos",), True)
    other = plain_tensor("rope.cos", np.ones((2, 2), np.float32))
    assert not compare_models(model(other), model(table)).same


def test_other_shapes_differ() -> None:
    flat = plain_tensor("w", quantized("w").dequantize().reshape(4, 3))
    found = compare_models(model(quantized("w")), model(flat))
    assert not found.same
    assert found.pairs[0].values == 0
    assert not found.pairs[0].bit_equal
