from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from tests.graph.samples import make_tensor, tensors
from tests.graph.support import AnyArray, identity_model, same_bits, tensor
from w2e_bridge.errors import BridgeError
from w2e_bridge.formats.spec import Request
from w2e_bridge.graph.serialize import graph_bytes
from w2e_bridge.ir.activation import ActivationMode, ActivationQuantization, KVQuantization
from w2e_bridge.ir.architecture import Architecture, Rope
from w2e_bridge.ir.codes import Float, Integer
from w2e_bridge.ir.encoding import FLOAT32, Encoding, blocked
from w2e_bridge.ir.layout import Layout
from w2e_bridge.ir.model import Model, Origin, Remark
from w2e_bridge.ir.parts import Parts
from w2e_bridge.ir.records import Calibration, Contract, Hints, Lineage
from w2e_bridge.ir.tensor import PackedStorage, Tensor, plain_tensor
from w2e_bridge.negotiation.negotiate import negotiate
from w2e_bridge.stream.pipeline import write
from w2e_bridge.tokenizers import Rules, Tokenizer, Vocabulary
from w2e_safetensors.profiles import CANONICAL
from w2e_safetensors.read import lift
from w2e_safetensors.write import lower

NAME = "model.w2e.safetensors"
REQUEST = Request(profile=CANONICAL.name)


def save(model: Model, folder: Path, threads: int = 1) -> Path:
    output = lower(model, negotiate(model, CANONICAL, REQUEST), REQUEST)
    folder.mkdir(exist_ok=True)
    write(output, folder, name=lambda name: name.replace("{stem}", "model"), threads=threads)
    return folder / NAME


def of(*all_tensors: Tensor, **more: object) -> Model:
    return Model(tensors={t.name: t for t in all_tensors}, **more)  # type: ignore[arg-type]


def everything(parts: Parts | None) -> list[AnyArray]:
    """All arrays of parts, in a fixed order."""
    if parts is None:
        return []
    signs = [] if parts.signs is None else [parts.signs]
    return [parts.codes, *signs, *everything(parts.scale), *everything(parts.offset)]


def assert_same_tensor(found: Tensor, expected: Tensor) -> None:
    assert (found.name, found.shape, found.dtype) == (expected.name, expected.shape, expected.dtype)
    assert found.encoding == expected.encoding
    for start, stop in ((0, expected.rows), (expected.rows // 2, expected.rows)):
        a, b = (t.storage.parts(start, stop) for t in (found, expected))
        assert len(everything(a)) == len(everything(b))
        for one, other in zip(everything(a), everything(b), strict=True):
            rows = max(one.shape[0], other.shape[0])  # one row may stand for all
            assert same_bits(
                np.broadcast_to(one, (rows, one.shape[1])),
                np.broadcast_to(other, (rows, other.shape[1])),
            )


@settings(
    derandomize=True,
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(tensors(), min_size=1, max_size=3))
def test_every_encoding_comes_back(tmp_path: Path, made: list[Tensor]) -> None:
    model = of(*(replace(t, name=f"t{n}", order=n) for n, t in enumerate(made)))
    path = save(model, tmp_path)
    found = lift(path, {})
    assert list(found.tensors) == list(model.tensors)
    for name, expected in model.tensors.items():
        assert_same_tensor(found.tensors[name], expected)
        assert found.tensors[name].order == expected.order
    again = save(found, tmp_path / "again")
    assert again.read_bytes() == path.read_bytes()
    with safe_open(path, "numpy") as opened:
        assert len(opened.keys()) >= len(made)
    again.unlink()
    path.unlink()


def test_the_library_reads_the_arrays(tmp_path: Path) -> None:
    halves = np.arange(12, dtype=np.float16).reshape(3, 4)
    quantized = make_tensor("w", blocked(Integer(bits=4), 4, FLOAT32), (3, 8))
    model = of(quantized, plain_tensor("norm", halves), plain_tensor("ids", np.arange(3)))
    with safe_open(save(model, tmp_path), "numpy") as opened:
        assert set(opened.keys()) >= {"w", "w.scale", "norm", "ids"}
        assert same_bits(opened.get_tensor("norm"), halves)
        assert same_bits(opened.get_tensor("ids"), np.arange(3))
        codes, parts = opened.get_tensor("w"), quantized.storage.parts(0, 3)
        assert parts.scale is not None
        assert same_bits(opened.get_tensor("w.scale"), parts.scale.codes)
        assert same_bits(codes & 15, parts.codes[:, ::2])
        assert same_bits(codes >> 4, parts.codes[:, 1::2])
        assert json.loads(opened.metadata()["w2e.manifest"])["w2e"] == 1


def test_bytes_do_not_depend_on_threads_and_data_begins_at_a_page(tmp_path: Path) -> None:
    encoding = blocked(Integer(bits=6, signed=True), 16, Encoding(codes=Float(name="float16")))
    model = of(make_tensor("a", encoding, (3000, 512)), make_tensor("b", encoding, (7, 16)))
    one, many = (save(model, tmp_path / str(n), n).read_bytes() for n in (1, 4))
    assert one == many
    assert (8 + int.from_bytes(one[:8], "little")) % 4096 == 0
    assert one[8:].startswith(b'{"__metadata__":{"format":"pt","w2e.manifest":')


def test_names_that_collide_or_are_no_text(tmp_path: Path) -> None:
    encoding = blocked(Integer(bits=4), 4, FLOAT32)
    names = ["w", "w.scale", "w2e.graph/model", "__metadata__", "\udcff", "\\udcff", "", "é"]
    model = of(*(make_tensor(name, encoding, (2, 8), n) for n, name in enumerate(names)))
    found = lift(save(model, tmp_path), {})
    assert list(found.tensors) == names
    for name, expected in model.tensors.items():
        assert_same_tensor(found.tensors[name], expected)
    with safe_open(tmp_path / NAME, "numpy") as opened:
        assert "__metadata__" not in opened.keys()  # noqa: SIM118 - no mapping


def activation(**more: object) -> ActivationQuantization:
    return ActivationQuantization(codes=Integer(bits=8), **more)  # type: ignore[arg-type]


def test_graph_and_values_come_back(tmp_path: Path) -> None:
    weights = {"w": make_tensor("w", blocked(Integer(bits=4), 4, FLOAT32), (2, 8))}
    static = activation(
        scale=np.array([0.5, 2], np.float32), zero_point=np.array([1, 2], np.uint8), axis=1
    )
    dynamic = ActivationQuantization(codes=Float(name="float8_e4m3fn"), mode=ActivationMode.DYNAMIC)
    model = of(
        *weights.values(),
        graph=identity_model(weights, opset=21),
        activations={"w.out": static},
        kv=(KVQuantization(layer=3, key=static, value=dynamic),),
        numerics="ort",
    )
    found = lift(save(model, tmp_path), {})
    assert found.graph is not None
    assert model.graph is not None
    assert graph_bytes(found.graph) == graph_bytes(model.graph)
    back = found.activations["w.out"]
    assert (back.codes, back.axis, back.mode) == (static.codes, 1, ActivationMode.STATIC)
    assert back.scale is not None
    assert back.zero_point is not None
    assert back.scale.tolist() == [0.5, 2.0]
    assert back.zero_point.dtype == np.uint8
    assert (found.kv[0].layer, found.kv[0].value.mode) == (3, ActivationMode.DYNAMIC)
    assert found.numerics == "ort"


METADATA = {
    "text": "é\udcff",
    "flag": True,
    "big": 1 << 63,
    "one": 1.0,
    "zero": -0.0,
    "inf": float("-inf"),
    "texts": ("a", ""),
    "ints": (1, -(1 << 60)),
    "floats": (1.0, 0.5),
    "none": (),
}


def test_records_come_back(tmp_path: Path) -> None:
    architecture = Architecture(
        family="llama", source="gguf", layers=2, hidden=8, intermediate=(16, 8), heads=(2, 2),
        kv_heads=(1, 1), head_size=4, value_head_size=4, vocabulary=3, context=1 << 62,
        norm_epsilon=1e-5, rope=Rope(base=10000.0, factor=float("inf")),
        window_pattern=(True, False), extra={"a": 1.0, "b": 2, "c": "x"},
        roles={"embedding.weight": "emb"},
    )  # fmt: skip
    model = of(
        plain_tensor("emb", np.ones((3, 8), np.float32)),
        architecture=architecture,
        metadata=METADATA,
        hints=Hints(values={"shape_profiles": [{"min": [1, 2]}]}),
        calibration=Calibration(mode="bundled", values={"samples": 3}),
        contract=Contract(items=({"metric": "p99", "limit": 1.5},)),
        lineage=Lineage(events=({"what": "made"},)),
        remarks=(Remark(name="key", reason="unused"),),
        origin=Origin(format="gguf", path="/somewhere/x.gguf", nbytes=12),
    )
    path = save(model, tmp_path)
    assert b"somewhere" not in path.read_bytes()
    found = lift(path, {})
    assert found.architecture == architecture
    assert sorted(map(repr, found.metadata.items())) == sorted(map(repr, METADATA.items()))
    assert (found.hints, found.calibration) == (model.hints, model.calibration)
    assert (found.contract, found.lineage) == (model.contract, model.lineage)
    assert found.remarks == model.remarks
    assert found.origin == Origin(
        format="w2e", path=str(path), nbytes=path.stat().st_size,
        before=Origin(format="gguf", path="", nbytes=12),
    )  # fmt: skip


@pytest.mark.parametrize("count", [4, 9000])
def test_tokenizers_come_back(count: int, tmp_path: Path) -> None:
    vocabulary = Vocabulary(
        kind="bpe",
        tokens=[f"t{n}\udc80" for n in range(count)],
        scores=np.arange(count, dtype=np.float32) * np.float32(np.nan),
        types=np.arange(count, dtype=np.int32),
        merges=["a b", "ab c"],
        pre_tokenizer="qwen2",
        special={"bos": 1},
        rules=Rules(byte_level=True, add_bos=True),
        lstrip=frozenset({2, 1}),
        chat_template="{{ x }}",
        charsmap=b"\x00\xff",
    )
    path = save(of(tokenizer=Tokenizer(vocabulary=vocabulary, max_length=77)), tmp_path)
    back = lift(path, {}).tokenizer
    assert isinstance(back, Tokenizer)
    assert back.max_length == 77
    found = back.vocabulary
    same = (
        "kind",
        "pre_tokenizer",
        "special",
        "rules",
        "lstrip",
        "rstrip",
        "chat_template",
        "charsmap",
    )
    assert all(getattr(found, name) == getattr(vocabulary, name) for name in same)
    assert list(found.tokens) == list(vocabulary.tokens)
    assert list(found.merges or ()) == list(vocabulary.merges or ())
    assert found.scores is not None
    assert vocabulary.scores is not None
    assert same_bits(found.scores, vocabulary.scores)


def test_a_tokenizer_of_another_kind_is_said_to_be_left_out() -> None:
    class Other:
        missing = None
        notes = ()

        def save(self, folder: Path) -> list[str]:
            return []

    output = lower(of(tokenizer=Other()), {}, REQUEST)
    assert [row.name for row in output.ignored] == ["tokenizer"]


def test_components_keep_apart(tmp_path: Path) -> None:
    draft = of(plain_tensor("w", np.zeros((2, 2), np.float32)), kind="adapter")
    model = of(plain_tensor("w", np.ones((2, 3), np.float32)), components={"draft": draft})
    found = lift(save(model, tmp_path), {})
    assert found.tensors["w"].shape == (2, 3)
    assert found.components["draft"].kind == "adapter"
    assert found.components["draft"].tensors["w"].dequantize().tolist() == [[0, 0], [0, 0]]


class Bytes:
    """A byte range in memory that counts what is read."""

    def __init__(self, data: AnyArray) -> None:
        self.data, self.read_bytes = data, 0

    def read(self, offset: int, count: int) -> AnyArray:
        self.read_bytes += count
        return self.data[offset : offset + count].copy()


def swapped(*, redundant: bool, pack: bool = True) -> Layout:
    """Two 4-bit codes in a byte, the high bits of which it ignores when it packs."""

    def unpack(packed: AnyArray) -> Parts:
        return Parts(codes=np.repeat(packed[..., 0] & 7, 2, axis=-1))

    def pack_again(parts: Parts) -> AnyArray:
        return parts.codes[:, ::2, None].astype(np.uint8)

    return Layout(
        name="test.swapped", label="SWAPPED", encoding=Encoding(codes=Integer(bits=3)), elements=2,
        bytes=1, unpack=unpack, pack=pack_again if pack else None, redundant=redundant,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("layout", "data", "kept", "looked"),
    [
        (swapped(redundant=False), [7, 15], False, 0),
        (swapped(redundant=True), [7, 6], False, 2),
        (swapped(redundant=True), [7, 15], True, 2),
        (swapped(redundant=False, pack=False), [7, 6], True, 0),
    ],
)
def test_bytes_of_the_source_are_kept_where_packing_would_not_give_them(
    layout: Layout, data: list[int], kept: bool, looked: int, tmp_path: Path
) -> None:
    source = Bytes(np.array(data, np.uint8))
    storage = PackedStorage(layout=layout, columns=4, source=source)
    one = Tensor(name="w", shape=(1, 4), dtype="float32", encoding=layout.encoding, storage=storage)
    output = lower(of(one), {}, REQUEST)
    assert (source.read_bytes > 0) is (looked > 0)
    write(output, tmp_path, name=lambda name: name.replace("{stem}", "model"))
    found = lift(tmp_path / NAME, {})
    assert_same_tensor(found.tensors["w"], one)
    own = found.tensors["w"].storage.layout
    assert (own is not None) is kept
    if own is not None:
        assert (own.name, own.label, own.encoding) == ("test.swapped", "SWAPPED", layout.encoding)
        assert found.tensors["w"].storage.raw(0, 1).tolist() == data
    again = save(found, tmp_path / "again")
    assert again.read_bytes() == (tmp_path / NAME).read_bytes()


def test_rows_that_blocks_can_not_say() -> None:
    rows = make_tensor("w", Encoding(codes=Integer(bits=4), block=(6,), scale=FLOAT32), (4, 8))
    flat = replace(rows, encoding=replace(rows.encoding, flat=True))
    with pytest.raises(BridgeError, match="cross rows"):
        lower(of(flat), {}, REQUEST)


@pytest.mark.parametrize(("block", "grid"), [(4, (4, 2)), (16, (2, 1))])
def test_flat_blocks_that_end_with_rows(block: int, grid: tuple[int, int], tmp_path: Path) -> None:
    encoding = Encoding(codes=Integer(bits=4), block=(block,), scale=FLOAT32, flat=True)
    rows = np.repeat(np.arange(grid[0] * grid[1], dtype=np.float32).reshape(grid), 4 // grid[0], 0)
    parts = Parts(codes=np.ones((4, 8), np.uint8), scale=Parts(codes=rows))
    one = tensor("w", encoding, parts, (4, 8))
    path = save(of(one), tmp_path)
    assert_same_tensor(lift(path, {}).tensors["w"], one)
    with safe_open(path, "numpy") as opened:
        assert opened.get_tensor("w.scale").shape == grid
