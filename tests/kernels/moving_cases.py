"""Operators that move elements, as files have them."""

from __future__ import annotations

from tests.kernels.moving import As, Given, Held, Moves, X

IMAGE = (2, 6, 8, 4)
FREE = X(shape=(1, 4, 6), signature=(-1, 4, 6), run=(3, 4, 6))
"""An operand whose batch is known at run time only."""
FREE_IMAGE = X(shape=(1, 4, 6, 2), signature=(-1, 4, 6, 2), run=(3, 4, 6, 2))
QUIET = ("float32", "int32")
CODES = ("float32", "int32", "int8", "uint8")


def strided(
    shape: tuple[int, ...],
    bounds: tuple[list[int], list[int], list[int]],
    out: tuple[int, ...],
    **masks: int,
) -> Moves:
    """A strided slice; it is found again with other masks that say the same."""
    return Moves(
        builtin="STRIDED_SLICE",
        inputs=[X(shape=shape), *bounds],
        outputs=[out],
        options=masks,
        said={},
    )


SHAPE = [
    Moves(builtin="RESHAPE", inputs=[X(shape=IMAGE), [2, 3, -1]], outputs=[(2, 3, 64)]),
    Moves(
        builtin="RESHAPE",
        inputs=[X(shape=IMAGE)],
        outputs=[(2, 192)],
        options={"new_shape": (-1, 192)},
        said={},
    ),
    Moves(builtin="RESHAPE", inputs=[X(shape=(2, 3)), Given(numbers=[3, -1])], outputs=[(1, 1)]),
    Moves(builtin="RESHAPE", inputs=[FREE, [-1, 24]], outputs=[(-1, 24)]),
    Moves(
        builtin="SQUEEZE",
        inputs=[X(shape=(1, 5, 1, 4))],
        outputs=[(5, 1, 4)],
        options={"squeeze_dims": (0,)},
    ),
    Moves(builtin="SQUEEZE", inputs=[X(shape=(1, 5, 1, 4))], outputs=[(5, 4)]),
    Moves(builtin="EXPAND_DIMS", inputs=[X(shape=(5, 4)), -2], outputs=[(5, 1, 4)]),
    Moves(builtin="TRANSPOSE", inputs=[X(shape=IMAGE), [0, 3, 1, 2]], outputs=[(2, 4, 6, 8)]),
    Moves(builtin="TRANSPOSE", inputs=[FREE, [0, 2, 1]], outputs=[(-1, 6, 4)]),
    Moves(
        builtin="BROADCAST_TO", inputs=[X(shape=(1, 3, 1)), [2, 2, 3, 4]], outputs=[(2, 2, 3, 4)]
    ),
    Moves(builtin="FILL", inputs=[Given(numbers=[2, 3]), Held(numbers=5)], outputs=[(1, 1)]),
    Moves(builtin="FILL", inputs=[Given(numbers=[2, 3]), X(shape=())], outputs=[(1, 1)]),
    Moves(builtin="TILE", inputs=[X(shape=(2, 3, 4)), [1, 2, 3]], outputs=[(2, 6, 12)]),
    Moves(
        builtin="ZEROS_LIKE",
        inputs=[X(shape=(2, 3))],
        outputs=[(2, 3)],
        comes_back_as="fill",  # of a shape that is known
        only=QUIET,
    ),
    Moves(
        builtin="SHAPE",
        inputs=[X(shape=IMAGE)],
        outputs=[As(dtype="int32", shape=(4,))],
        options={"out_type": "INT32"},
    ),
    Moves(builtin="RANK", inputs=[X(shape=IMAGE)], outputs=[As(dtype="int32", shape=())]),
    Moves(
        builtin="RANGE",
        inputs=[Given(numbers=1), Given(numbers=9), Given(numbers=3)],
        outputs=[As(dtype="int32", shape=(1,))],
        only=("int32",),
    ),
    Moves(
        builtin="BROADCAST_ARGS",
        inputs=[Given(numbers=[1, 3]), Given(numbers=[2, 4, 1])],
        outputs=[As(dtype="int32", shape=(3,))],
        only=("int32",),
    ),
]

SLICING = [
    Moves(
        builtin="SLICE",
        inputs=[X(shape=IMAGE), [0, 1, 2, 0], [-1, 3, -1, 2]],
        outputs=[(2, 3, 6, 2)],
    ),
    Moves(builtin="SLICE", inputs=[FREE, [0, 1, 0], [-1, 2, -1]], outputs=[(-1, 2, 6)]),
    Moves(
        builtin="SLICE",
        inputs=[X(shape=(4, 5)), Given(numbers=[1, 2]), Given(numbers=[2, -1])],
        outputs=[(2, 3)],
    ),
    Moves(
        builtin="SPLIT",
        inputs=[2, X(shape=IMAGE)],
        outputs=[(2, 6, 4, 4)] * 2,
        options={"num_splits": 2},
    ),
    Moves(
        builtin="SPLIT_V",
        inputs=[X(shape=IMAGE), [1, -1, 2], 1],
        outputs=[(2, 1, 8, 4), (2, 3, 8, 4), (2, 2, 8, 4)],
        options={"num_splits": 3},
    ),
    Moves(
        builtin="UNPACK",
        inputs=[X(shape=(2, 3, 4))],
        outputs=[(2, 4)] * 3,
        options={"num": 3, "axis": 1},
    ),
    Moves(
        builtin="UNPACK",
        inputs=[X(shape=(2, 3))],
        outputs=[(2,)] * 3,
        options={"num": 3, "axis": 1},
    ),
    Moves(builtin="REVERSE_V2", inputs=[X(shape=IMAGE), [1]], outputs=[IMAGE]),
    Moves(
        builtin="REVERSE_SEQUENCE",
        inputs=[X(shape=(3, 4, 5)), [2, 5, 1]],
        outputs=[(3, 4, 5)],
        options={"seq_dim": 2, "batch_dim": 0},
        only=("float32", "int32", "uint8", "int16"),
    ),
    Moves(
        builtin="REVERSE_SEQUENCE",
        inputs=[X(shape=(3, 5, 2)), [2, 5, 1]],
        outputs=[(3, 5, 2)],
        options={"seq_dim": 1, "batch_dim": 0},
        only=QUIET,
    ),
    Moves(
        builtin="DYNAMIC_UPDATE_SLICE",
        inputs=[X(shape=(4, 5)), X(shape=(2, 3)), Given(numbers=[3, -2])],
        outputs=[(4, 5)],
    ),
]

STRIDED = [
    strided(IMAGE, ([0, 5, 1, 0], [2, 0, 7, -1], [1, -2, 3, 1]), (2, 3, 2, 3)),
    strided(
        IMAGE,
        ([0, 2, 1, 0], [0, 3, 0, 0], [1, 1, 1, 1]),
        (2, 7, 4),
        begin_mask=9,
        end_mask=13,
        shrink_axis_mask=2,
    ),
    strided(
        IMAGE,
        ([0, 2, 0, 0], [0, 3, 0, 0], [1, 1, 1, 1]),
        (2, 8, 4),
        begin_mask=13,
        end_mask=13,
        shrink_axis_mask=2,
    ),
    strided(IMAGE, ([-1, 2], [0, 5], [1, 1]), (3, 8, 4), shrink_axis_mask=1),
    strided(
        IMAGE, ([1, 0, 1], [0, 0, 3], [1, 1, 1]), (6, 8, 2), shrink_axis_mask=1, ellipsis_mask=2
    ),
    strided((6, 8, 4), ([0, 1, 2], [0, 4, 2], [-1, 1, 2]), (6, 3, 1), begin_mask=1, end_mask=5),
    strided((6, 8, 4), ([0, 1, -3], [3, 4, 2], [1, 1, 1]), (3, 4, 2), offset=True),
    strided((4, 6), ([3, 2], [0, 3], [1, 1]), (1,), shrink_axis_mask=1, begin_mask=1),
    Moves(
        builtin="STRIDED_SLICE",
        inputs=[FREE, [0, 1, 0], [0, 2, 0], [1, 1, 1]],
        outputs=[(-1, 6)],
        options={"begin_mask": 5, "end_mask": 5, "shrink_axis_mask": 2},
    ),
    *(
        Moves(
            builtin="STRIDED_SLICE",
            inputs=[X(shape=(4, 5)), Given(numbers=begin), Given(numbers=end), [1, step]],
            outputs=[out],
            options=masks,
        )
        for begin, end, step, out, masks in (
            ([1, 4], [3, 0], -2, (1, 1), {}),
            ([-1, 3], [7, 5], 1, (1,), {"shrink_axis_mask": 1}),
            ([1, 3], [2, 1], 1, (1, 1), {"begin_mask": 1, "end_mask": 2}),
        )
    ),
]

NEW_AXIS = strided(
    (6, 8, 4),
    ([0, 0, 1, 2], [2, 0, 0, 4], [1, 1, 1, 2]),
    (2, 1, 8, 1),
    new_axis_mask=2,
    ellipsis_mask=4,
)
"""Which the reference kernels don't have under the version that it needs."""

PADDING = [
    Moves(
        builtin="PAD",
        inputs=[X(shape=IMAGE), [[0, 0], [1, 2], [0, 1], [0, 0]]],
        outputs=[(2, 9, 9, 4)],
    ),
    Moves(
        builtin="PAD", inputs=[X(shape=(4, 5)), Given(numbers=[[1, 0], [2, 3]])], outputs=[(1, 1)]
    ),
    Moves(builtin="PAD", inputs=[FREE, [[0, 0], [1, 1], [0, 0]]], outputs=[(-1, 6, 6)]),
    Moves(
        builtin="PADV2",
        inputs=[X(shape=IMAGE), [[0, 0], [1, 2], [0, 1], [0, 0]], Held(numbers=5)],
        outputs=[(2, 9, 9, 4)],
    ),
    *(
        Moves(
            builtin="MIRROR_PAD",
            inputs=[X(shape=IMAGE), [[0, 0], [1, 2], [2, 3], [0, 0]]],
            outputs=[(2, 9, 13, 4)],
            options={"mode": mode},
        )
        for mode in ("REFLECT", "SYMMETRIC")
    ),
    Moves(
        builtin="MIRROR_PAD",
        inputs=[FREE, [[0, 0], [1, 4], [0, 0]]],
        outputs=[(-1, 9, 6)],
        options={"mode": "SYMMETRIC"},
    ),
    Moves(
        builtin="MIRROR_PAD",
        inputs=[X(shape=(1, 1, 3)), [[1, 1], [0, 1], [0, 2]]],
        outputs=[(3, 2, 5)],
        options={"mode": "SYMMETRIC"},
    ),
]

INDICES = [
    Moves(
        builtin="GATHER",
        inputs=[X(shape=IMAGE), Given(numbers=[3, 0, 5])],
        outputs=[(2, 3, 8, 4)],
        options={"axis": 1, "batch_dims": 0},
    ),
    Moves(
        builtin="GATHER",  # of the very elements that a mirrored border has
        inputs=[X(shape=(2, 3)), [0, 0, 1, 1]],
        outputs=[(4, 3)],
        options={"axis": 0},
    ),
    Moves(builtin="GATHER", inputs=[X(shape=IMAGE), 3], outputs=[(2, 6, 4)], options={"axis": 2}),
    Moves(
        builtin="GATHER",
        inputs=[Held(numbers=[[1, 2], [3, 4], [5, 6]]), Given(numbers=[[2, 0], [1, 1]])],
        outputs=[(2, 2, 2)],
        options={"axis": 0},
    ),
    *(
        Moves(
            builtin="GATHER",
            inputs=[X(shape=IMAGE), [[3, 0, 5], [1, 1, 2]]],
            outputs=[out],
            options={"axis": axis, "batch_dims": 1},
        )
        for axis, out in ((1, (2, 3, 8, 4)), (2, (2, 6, 3, 4)))
    ),
    Moves(
        builtin="GATHER_ND", inputs=[X(shape=IMAGE), [[1, 2], [0, 5], [0, 0]]], outputs=[(3, 8, 4)]
    ),
    *(
        Moves(
            builtin="ONE_HOT",
            inputs=[Given(numbers=[[0, 4, -1], [5, 2, 2]]), 5, Held(numbers=1), Held(numbers=0)],
            outputs=[out],
            options={"axis": axis},
            only=("float32", "int32", "int8", "uint8"),
        )
        for axis, out in ((-1, (2, 3, 5)), (1, (2, 5, 3)))
    ),
    Moves(
        builtin="TOPK_V2",
        inputs=[X(shape=(3, 7)), 3],
        outputs=[(3, 3), As(dtype="int32", shape=(3, 3))],
    ),
    Moves(
        builtin="WHERE",
        inputs=[X(shape=(3, 4))],
        outputs=[As(dtype="int64", shape=(1, 2))],
        only=("float32", "int32", "int8", "uint8"),
    ),
    Moves(
        builtin="UNIQUE",
        inputs=[X(shape=(9,))],
        outputs=[(1,), As(dtype="int32", shape=(9,))],
        options={"idx_out_type": "INT32"},
    ),
    Moves(
        builtin="BUCKETIZE",
        inputs=[X(shape=(3, 4))],
        outputs=[As(dtype="int32", shape=(3, 4))],
        options={"boundaries": (-0.5, 0.0, 1.5)},
        only=QUIET,
    ),
]

SCATTER = [
    Moves(
        builtin="SCATTER_ND",
        inputs=[[[1], [0], [1]], X(shape=(3, 4)), [3, 4]],
        outputs=[(3, 4)],
        only=("float32", "int32", "int8", "uint8"),
    ),
    Moves(
        builtin="SEGMENT_SUM",
        inputs=[X(shape=(5, 3)), [0, 0, 1, 2, 2]],
        outputs=[(3, 3)],
        only=QUIET,
        default_only=True,
    ),
    *(
        Moves(
            builtin=f"UNSORTED_SEGMENT_{name}",
            inputs=[X(shape=(5, 3)), [2, 0, -1, 4, 2], 6],
            outputs=[(6, 3)],
            only=QUIET,
        )
        for name in ("SUM", "PROD", "MAX", "MIN")
    ),
    Moves(builtin="MATRIX_DIAG", inputs=[X(shape=(2, 3))], outputs=[(2, 3, 3)]),
    *(
        Moves(builtin="MATRIX_SET_DIAG", inputs=[X(shape=shape), X(shape=(2, 3))], outputs=[shape])
        for shape in ((2, 3, 3), (2, 3, 5), (2, 5, 3))
    ),
]

SPACES = [
    Moves(
        builtin="DEPTH_TO_SPACE",
        inputs=[X(shape=(2, 3, 4, 8))],
        outputs=[(2, 6, 8, 2)],
        options={"block_size": 2},
        only=CODES,
    ),
    Moves(
        builtin="SPACE_TO_DEPTH",
        inputs=[FREE_IMAGE],
        outputs=[(-1, 2, 3, 8)],
        options={"block_size": 2},
        only=CODES,
    ),
    *(
        Moves(builtin="SPACE_TO_BATCH_ND", inputs=[X(shape=shape), [2, 3], pads], outputs=[out])
        for shape, pads, out in (
            ((2, 5, 6, 3), [[1, 0], [1, 2]], (12, 3, 3, 3)),
            ((2, 4, 6, 3), [[0, 0], [0, 0]], (12, 2, 2, 3)),
        )
    ),
    *(
        Moves(
            builtin="BATCH_TO_SPACE_ND",
            inputs=[X(shape=(12, 3, 3, 3)), [2, 3], crops],
            outputs=[out],
        )
        for crops, out in (([[1, 0], [1, 2]], (2, 5, 6, 3)), ([[0, 0], [0, 0]], (2, 6, 9, 3)))
    ),
    Moves(
        builtin="SPACE_TO_BATCH_ND",
        inputs=[FREE_IMAGE, [2, 2], [[0, 0], [0, 0]]],
        outputs=[(-1, 2, 3, 2)],
    ),
]
