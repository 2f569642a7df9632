"""Kinds that move elements: each is found again in the nodes that it is built of, and computes the same."""

from __future__ import annotations

import pytest

from tests.kernels.moving import Moves
from tests.kernels.moving_cases import (
    INDICES,
    NEW_AXIS,
    PADDING,
    SCATTER,
    SHAPE,
    SLICING,
    SPACES,
    STRIDED,
)

ALL = [*SHAPE, *SLICING, *STRIDED, NEW_AXIS, *PADDING, *INDICES, *SCATTER, *SPACES]


@pytest.mark.parametrize("case", ALL, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_is_found_again(case: Moves, dtype: str) -> None:
    if dtype in case.only:
        case.check_found(dtype)


@pytest.mark.parametrize("case", ALL, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_computes_what_litert_computes(case: Moves, dtype: str) -> None:
    if dtype in case.only:
        case.check_run(dtype, reference=False)
