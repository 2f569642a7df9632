"""Resized images, code for code, with both sets of kernels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels.moving import Given, Moves, X
from tests.kernels.test_image import ALIGNED, HALF, PLAIN, resize
from tests.w2e_onnx.litert.harness import lowered
from w2e_bridge.numerics.resizing import Sampling, nearest, nearest_of_bytes

TYPES = st.sampled_from(["int8", "uint8", "int16"])
FLAGS = st.sampled_from([PLAIN, HALF, ALIGNED])
EXTENT = st.tuples(st.integers(1, 12), st.integers(1, 12))
SIZE = st.tuples(st.integers(1, 30), st.integers(1, 30))
BOTH = st.booleans()


@settings(deadline=None, derandomize=True, max_examples=60)
@given(plane=EXTENT, size=SIZE, flags=FLAGS, dtype=TYPES, reference=BOTH)
def test_bilinear(
    plane: tuple[int, int],
    size: tuple[int, int],
    flags: Mapping[str, bool],
    dtype: str,
    reference: bool,
) -> None:
    case = resize("BILINEAR", plane, size, flags)
    case.check_run(dtype, reference=reference, optimize=bool(size[0] % 2))


@pytest.mark.parametrize("factor", [(2, 2), (4, 8), (1, 2)])
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16"])
@pytest.mark.parametrize("reference", [False, True])
def test_bilinear_by_powers_of_two(factor: tuple[int, int], dtype: str, reference: bool) -> None:
    for flags in (PLAIN, HALF):
        case = resize("BILINEAR", (5, 3), (5 * factor[0], 3 * factor[1]), flags)
        case.check_run(dtype, reference=reference)


def test_powers_of_two_are_one_resize() -> None:
    case = resize("BILINEAR", (5, 3), (10, 12), HALF)
    _, emitter = lowered(case.model("int8"))
    (body,) = [f for name, f in emitter.functions.items() if name.startswith("resize")]
    assert "Resize" in [node.op_type for node in body]
    _, emitter = lowered(resize("BILINEAR", (5, 3), (9, 7), HALF).model("int8"))
    (body,) = [f for name, f in emitter.functions.items() if name.startswith("resize")]
    assert "Resize" not in [node.op_type for node in body]


@settings(deadline=None, derandomize=True, max_examples=40)
@given(plane=EXTENT, size=SIZE, flags=FLAGS, dtype=TYPES, reference=BOTH)
def test_nearest(
    plane: tuple[int, int],
    size: tuple[int, int],
    flags: Mapping[str, bool],
    dtype: str,
    reference: bool,
) -> None:
    resize("NEAREST_NEIGHBOR", plane, size, flags).check_run(dtype, reference=reference)


def test_the_default_kernel_of_bytes_counts_in_another_way() -> None:
    differ = [
        (n, size)
        for n in range(1, 200)
        for size in range(1, 200)
        if (nearest(n, size, Sampling()) != nearest_of_bytes(n, size, Sampling())).any()
    ]
    assert differ
    for n, size in differ[:: max(1, len(differ) // 4)][:4]:
        for reference in (False, True):
            case = resize("NEAREST_NEIGHBOR", (n, 1), (size, 1), PLAIN)
            case.check_run("int8", reference=reference)


@pytest.mark.parametrize("size", [(8, 12), (7, 5)])
@pytest.mark.parametrize("dtype", ["int8", "int16"])
def test_a_free_batch(size: tuple[int, int], dtype: str) -> None:
    case = Moves(
        builtin="RESIZE_BILINEAR",
        inputs=[X(shape=(1, 4, 6, 2), signature=(-1, 4, 6, 2), run=(3, 4, 6, 2)), list(size)],
        outputs=[(-1, *size, 2)],
        options=HALF,
    )
    case.check_run(dtype, reference=False)


RUNS_BACK = [
    Moves(
        builtin=f"RESIZE_{kind}",
        inputs=[X(shape=(1, 4, 6, 2), signature=signature, run=run), size],
        outputs=[out],
        options=HALF,
    )
    for kind in ("BILINEAR", "NEAREST_NEIGHBOR")
    for signature, run, size, out in (
        (None, None, [8, 12], (1, 8, 12, 2)),
        ((-1, 4, 6, 2), (3, 4, 6, 2), [7, 5], (-1, 7, 5, 2)),
        (None, None, Given(numbers=[8, 12]), (1, 1, 1, 2)),
    )
]


@pytest.mark.parametrize("case", RUNS_BACK, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_there_and_back(case: Moves, dtype: str, tmp_path: Path) -> None:
    if isinstance(case.inputs[1], Given) and dtype == "int8":
        pytest.skip("sizes of codes must be known")
    case.check_back(dtype, tmp_path)


def test_ends_of_the_type_do_not_overflow() -> None:
    case = resize("BILINEAR", (3, 3), (29, 31), ALIGNED)
    assert np.isin([-128, 127], case.values("int8")[0]).all()
    case.check_run("int8", reference=True)
