"""Images of another size as nodes and back."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels.moving import Moves, X, found, numbers_of
from tests.kernels.pairs import read
from w2e_bridge.kernels.image import MODES
from w2e_bridge.kernels.operation import Operation
from w2e_bridge.numerics.resizing import (
    Sampling,
    blend_of_integers,
    blend_of_onnx,
    blend_of_xnnpack,
    nearest,
    nearest_of_onnx,
)

PLAIN: Mapping[str, bool] = {"align_corners": False, "half_pixel_centers": False}
HALF: Mapping[str, bool] = {"align_corners": False, "half_pixel_centers": True}
ALIGNED: Mapping[str, bool] = {"align_corners": True, "half_pixel_centers": False}


def resize(
    kind: str, plane: tuple[int, int], size: tuple[int, int], flags: Mapping[str, bool]
) -> Moves:
    """An image of two channels."""
    return Moves(
        builtin=f"RESIZE_{kind}",
        inputs=[X(shape=(2, *plane, 2)), list(size)],
        outputs=[(2, *size, 2)],
        options=flags,
    )


SIZES = [((5, 6), (10, 12)), ((5, 6), (7, 4)), ((3, 9), (9, 17)), ((4, 3), (1, 1))]


@pytest.mark.parametrize("kind", ["BILINEAR", "NEAREST_NEIGHBOR"])
@pytest.mark.parametrize("flags", [PLAIN, HALF, ALIGNED])
@pytest.mark.parametrize(("plane", "size"), SIZES)
def test_is_found_again_and_computes_the_same(
    kind: str, flags: Mapping[str, bool], plane: tuple[int, int], size: tuple[int, int]
) -> None:
    case = resize(kind, plane, size, flags)
    operation = found(case.model("float32"))
    assert operation.kind == case.builtin.lower()
    assert numbers_of(operation.inputs[1]) == list(size)
    if size != (1, 1):  # where several flags come to the same
        assert dict(operation.attributes) == dict(flags)
    case.check_run("float32", reference=False)


@pytest.mark.parametrize(
    ("extent", "size", "flags"), [(24, 165, PLAIN), (36, 139, HALF), (84, 3, PLAIN)]
)
def test_pixels_that_resize_would_miss_are_gathered(
    extent: int, size: int, flags: Mapping[str, bool]
) -> None:
    case = resize("NEAREST_NEIGHBOR", (extent, 3), (size, 4), flags)
    case.check_found("float32")
    case.check_run("float32", reference=False)
    sampling = Sampling(**flags)
    pixels = nearest_of_onnx(extent, size, *MODES[sampling])
    assert pixels is not None
    assert (nearest(extent, size, sampling) != pixels).any()


def test_both_flags_have_no_word_in_onnx() -> None:
    flags = {"align_corners": True, "half_pixel_centers": True}
    case = resize("NEAREST_NEIGHBOR", (5, 6), (8, 4), flags)
    case.check_found("float32")
    case.check_run("float32", reference=False)


def test_a_size_computed_at_run_time() -> None:
    from tests.kernels.moving import Given

    case = Moves(
        builtin="RESIZE_BILINEAR",
        inputs=[X(shape=(1, 4, 6, 2)), Given(numbers=[8, 12])],
        outputs=[(1, 1, 1, 2)],
        options=HALF,
    )
    case.check_found("float32")
    case.check_run("float32", reference=False)


def test_a_free_batch() -> None:
    case = Moves(
        builtin="RESIZE_BILINEAR",
        inputs=[X(shape=(1, 4, 6, 2), signature=(-1, 4, 6, 2), run=(3, 4, 6, 2)), [8, 12]],
        outputs=[(-1, 8, 12, 2)],
        options=HALF,
    )
    case.check_found("float32")
    case.check_run("float32", reference=False)


def exported(attributes: str, inputs: str, constants: Mapping[str, object]) -> Operation:
    """A Resize of 4 by 6 pixels as an exporter writes it."""
    nodes = f"t = Transpose<perm = [0, 3, 1, 2]>(x); r = Resize<{attributes}>(t, , {inputs})"
    nodes += "; y = Transpose<perm = [0, 2, 3, 1]>(r)"
    return read(nodes, {"x": (1, 4, 6, 2)}, dict(constants))


def test_what_exporters_write() -> None:
    linear = exported('mode = "linear"', ", s", {"s": [1, 2, 8, 12]})
    assert (linear.kind, dict(linear.attributes)) == ("resize_bilinear", dict(HALF))
    assert numbers_of(linear.inputs[1]) == [8, 12]
    torch = '"asymmetric", mode = "nearest", nearest_mode = "floor"'
    axes = f"coordinate_transformation_mode = {torch}, axes = [2, 3]"
    near = exported(axes, ", s", {"s": [8, 12]})
    assert (near.kind, dict(near.attributes)) == ("resize_nearest_neighbor", dict(PLAIN))
    # the operator's own defaults: half_pixel and round_prefer_floor, without a tie at an even factor
    usual = exported('mode = "nearest"', ", s", {"s": [1, 2, 8, 12]})
    assert (usual.kind, dict(usual.attributes)) == ("resize_nearest_neighbor", dict(HALF))


@pytest.mark.parametrize(
    "attributes",
    ['mode = "cubic"', 'mode = "linear", antialias = 1', 'mode = "nearest", nearest_mode = "ceil"'],
)
def test_what_tensorflow_lite_has_not(attributes: str) -> None:
    with pytest.raises(AssertionError):
        exported(attributes, ", s", {"s": [1, 2, 8, 12]})


@settings(deadline=None, derandomize=True, max_examples=60)
@given(extent=st.integers(1, 60), power=st.integers(0, 4))
def test_powers_of_two_have_the_same_weights_everywhere(extent: int, power: int) -> None:
    size = extent << power
    for sampling, mode in (
        (Sampling(), "asymmetric"),
        (Sampling(half_pixel_centers=True), "half_pixel"),
    ):
        onnx = blend_of_onnx(extent, size, mode)
        assert onnx is not None
        for kernel in (blend_of_integers, blend_of_xnnpack):
            blend = kernel(extent, size, sampling)
            assert blend.same(onnx)
            assert blend.reduced().same(onnx)
            assert blend.reduced().bits <= power + 1


def test_reduced_weights_weigh_the_same() -> None:
    blend = blend_of_xnnpack(7, 28, Sampling(half_pixel_centers=True))
    small = blend.reduced()
    assert small.bits < blend.bits
    assert small.same(blend)
