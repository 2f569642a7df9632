"""Index notation, attention and rotary positions in products that kernels have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.passes.evaluation import Net
from tests.passes.test_legalize import check

EINSUMS: dict[str, list[tuple[int, ...]]] = {
    "ij,jk->ik": [(3, 4), (4, 5)],
    "ij,kj->ik": [(3, 4), (5, 4)],
    "bhqd,bhkd->bhqk": [(2, 3, 4, 5), (2, 3, 6, 5)],
    "bhqk,bkhd->bqhd": [(2, 3, 4, 6), (2, 6, 3, 5)],
    "bnd,dhe->bnhe": [(2, 3, 4), (4, 5, 6)],
    "bnhe,hed->bnd": [(2, 3, 5, 6), (5, 6, 4)],
    "ij->ji": [(3, 4)],
    "ijk->i": [(3, 4, 5)],
    "i,j->ij": [(3,), (4,)],
    "i,i->": [(3,), (3,)],
    "...ij,...jk->...ik": [(2, 3, 4), (2, 4, 5)],
    "ab,bc,cd->ad": [(2, 3), (3, 4), (4, 5)],
    "ij,jk": [(3, 4), (4, 5)],
    "bij,bij->bij": [(2, 3, 4), (2, 3, 4)],
}


@pytest.mark.parametrize("equation", EINSUMS)
def test_index_notation(equation: str, tmp_path: Path) -> None:
    net = Net()
    made = net.add("Einsum", *(net.input(*shape) for shape in EINSUMS[equation]), equation=equation)
    check(net.proto(made), tmp_path)


def test_index_notation_with_extents_at_run_time(tmp_path: Path) -> None:
    net = Net()
    a, b = net.input("n", 3, 4, 5), net.input("n", 3, 6, 5)
    check(net.proto(net.add("Einsum", a, b, equation="bhqd,bhkd->bhqk")), tmp_path)


def attention(net: Net, *more: str, kv: int = 4, shapes: Any = None, **attributes: Any) -> str:
    wide: dict[str, Any] = {"q_num_heads": 4, "kv_num_heads": kv}
    q, k, v = shapes or ((2, 5, 32), (2, 5, 8 * kv), (2, 5, 8 * kv))
    made = net.add(
        "Attention", net.input(*q), net.input(*k), net.input(*v), *more, **wide, **attributes
    )
    return str(made)


ATTENTIONS: dict[str, Any] = {
    "plain": attention,
    "causal": lambda n: attention(n, is_causal=1),
    "scale": lambda n: attention(n, scale=0.25),
    "capped": lambda n: attention(n, softcap=2.0),
    "shared heads": lambda n: attention(n, kv=2),
    "mask": lambda n: attention(n, n.weight(5, 5)),
    "truth mask": lambda n: attention(n, n.constant(np.tri(5, dtype=bool))),
    "heads apart": lambda n: n.add(
        "Attention", *(n.input(2, 4, 5, 8) for _ in range(3)), is_causal=1
    ),
}


@pytest.mark.parametrize("name", ATTENTIONS)
def test_attention(name: str, tmp_path: Path) -> None:
    net = Net()
    made = ATTENTIONS[name](net)
    net.known[made] = (2, 4, 5, 8) if name == "heads apart" else (2, 5, 32)
    check(net.proto(made, opset=23), tmp_path)


def test_attention_with_a_past(tmp_path: Path) -> None:
    net = Net()
    q, k, v = (net.input(1, 4, 3, 8) for _ in range(3))
    past = [net.input(1, 4, 2, 8) for _ in range(2)]
    found = net.add("Attention", q, k, v, "", *past, outputs=3, is_causal=1)
    for name, extent in zip(found, (3, 5, 5), strict=True):
        net.known[name] = (1, 4, extent, 8)
    check(net.proto(*found, opset=23), tmp_path)


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("rotated", [0, 4])
@pytest.mark.parametrize("shape", [(2, 3, 5, 8), (2, 5, 24)])
def test_rotary_positions(
    shape: tuple[int, ...], rotated: int, interleaved: int, tmp_path: Path
) -> None:
    net = Net()
    pairs = (rotated or 8) // 2
    tables = [
        net.constant(f(np.outer(np.arange(9), 0.3 ** np.arange(pairs))), np.float32)
        for f in (np.cos, np.sin)
    ]
    positions = net.constant(np.array([[0, 1, 2, 3, 4], [2, 3, 4, 5, 6]]), np.int64)
    heads: dict[str, Any] = {} if len(shape) == 4 else {"num_heads": 3}
    made = net.add(
        "RotaryEmbedding", net.input(*shape), *tables, positions, interleaved=interleaved,
        rotary_embedding_dim=rotated, **heads,
    )  # fmt: skip
    net.known[made] = shape
    check(net.proto(made, opset=23), tmp_path)


def test_an_encoder_as_exporters_write_it(tmp_path: Path) -> None:
    """Embedding, attention in parts, normalization, GELU, with a batch that is known at run time."""
    net = Net()
    ids = net.input("n", 6, dtype=onnx.TensorProto.INT64)
    x = net.add("Gather", net.weight(11, 16), ids, axis=0)
    x = net.add("Add", x, net.weight(6, 16))

    def linear(value: str, out: int) -> str:
        return str(net.add("Add", net.add("MatMul", value, net.weight(16, out)), net.weight(out)))

    shape = net.add("Shape", x)
    batch = net.add(
        "Unsqueeze", net.add("Gather", shape, net.constant(0, np.int64), axis=0), net.ints(0)
    )
    split = net.add("Concat", batch, net.ints(6), net.ints(2), net.ints(8), axis=0)
    q, k, v = (
        net.add("Transpose", net.add("Reshape", linear(x, 16), split), perm=perm)
        for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
    )
    scores = net.add("Div", net.add("MatMul", q, k), net.constant(np.float32(np.sqrt(8))))
    mixed = net.add(
        "Transpose", net.add("MatMul", net.add("Softmax", scores, axis=-1), v), perm=[0, 2, 1, 3]
    )
    joined = net.add("Reshape", mixed, net.add("Concat", batch, net.ints(6), net.ints(16), axis=0))
    x = net.add(
        "LayerNormalization", net.add("Add", x, linear(joined, 16)), net.weight(16), net.weight(16)
    )
    hidden = net.add("Gelu", linear(x, 24))
    back = net.add("Gemm", net.add("Reshape", hidden, net.ints(-1, 24)), net.weight(24, 16))
    x = net.add("Add", x, net.add("Reshape", back, shape))
    out = net.add("ReduceMean", x, net.ints(1), keepdims=0)
    check(net.proto(out), tmp_path, sizes={"n": 2})
