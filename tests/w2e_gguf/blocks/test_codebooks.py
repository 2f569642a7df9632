"""Data and tables against gguf-py's."""

from __future__ import annotations

import hashlib
from typing import Any

import gguf
import numpy as np
import pytest

from w2e_gguf.blocks import iquant, micro
from w2e_gguf.blocks.codebooks import FILE, codebook, grids
from w2e_gguf.blocks.columns import Slices
from w2e_gguf.blocks.fields import struct

ORACLES = {
    "iq1": gguf.quants.IQ1_S,
    "iq2_xxs": gguf.quants.IQ2_XXS,
    "iq2_xs": gguf.quants.IQ2_XS,
    "iq2_s": gguf.quants.IQ2_S,
    "iq3_xxs": gguf.quants.IQ3_XXS,
    "iq3_s": gguf.quants.IQ3_S,
}


def test_the_file_is_the_one_that_was_checked() -> None:
    digest = hashlib.sha256(FILE.read_bytes()).hexdigest()
    assert digest == "83b7fa1c24f8e28dba4bbd87955118049116d5c68019dc10829ed2efec7f9fc0"
    assert set(grids()) == set(ORACLES)


@pytest.mark.parametrize("name", ORACLES)
def test_grids_are_those_of_gguf_py(name: str) -> None:
    oracle: Any = ORACLES[name]
    oracle.init_grid()
    grid = codebook(name, signs=True).grid
    np.testing.assert_array_equal(grid, oracle.grid.reshape(oracle.grid_shape))
    assert grid.dtype == np.int8


def test_even_signs_are_those_of_gguf_py() -> None:
    fields = np.arange(128, dtype=np.uint8).view(struct(x="u1"))
    column = iquant.EvenSigns(Slices("x", 7))
    expected = np.frombuffer(gguf.quants.IQ2_XXS.ksigns, np.uint8)
    np.testing.assert_array_equal(column.unpack(fields).reshape(-1), expected)


def test_tables_are_those_of_gguf_py() -> None:
    codes = np.arange(256, dtype=np.uint8)
    assert iquant.IQ4_VALUES.values == gguf.quants.IQ4_NL.kvalues
    assert micro.E2M1_DOUBLED.values == gguf.quants.MXFP4.kvalues
    assert micro.E2M1_DOUBLED.integral
    np.testing.assert_array_equal(
        micro.E8M0_HALF.array(), gguf.quants.MXFP4.e8m0_to_fp32_half(codes)
    )
    np.testing.assert_array_equal(micro.UE4M3_HALF.array(), gguf.quants.NVFP4.ue4m3_to_fp32(codes))


def test_micro_tables_differ_from_the_standard_types_only_where_said() -> None:
    import ml_dtypes

    codes = np.arange(256, dtype=np.uint8)
    e8m0 = codes.view(ml_dtypes.float8_e8m0fnu).astype(np.float32)
    np.testing.assert_array_equal(micro.E8M0_HALF.array()[:255], e8m0[:255] / 2)
    e4m3 = codes.view(ml_dtypes.float8_e4m3fn).astype(np.float32)
    np.testing.assert_array_equal(micro.UE4M3_HALF.array()[:127], e4m3[:127] / 2)
    e2m1 = codes[:16].view(ml_dtypes.float4_e2m1fn).astype(np.float32)
    np.testing.assert_array_equal(micro.E2M1_DOUBLED.array(), e2m1 * 2)
