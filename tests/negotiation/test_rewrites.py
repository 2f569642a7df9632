"""Every ggml type reaches a form of ONNX Runtime's profile with the same decoded bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from w2e_bridge.formats.spec import Request
from w2e_bridge.ir.codes import Integer, Table
from w2e_bridge.ir.encoding import FLOAT16, FLOAT32, Encoding, blocked, constant_zero, zero_point
from w2e_bridge.ir.model import Model
from w2e_bridge.ir.parts import Parts, decode
from w2e_bridge.ir.tensor import OwnedStorage, PackedStorage, Tensor
from w2e_bridge.loss import Budget, Grade
from w2e_bridge.negotiation.negotiate import negotiate
from w2e_bridge.negotiation.profile import Form, OffsetForm, Profile, Role
from w2e_bridge.negotiation.rewrites import digits, path
from w2e_bridge.negotiation.step import Unreachable
from w2e_gguf.blocks.table import TYPES
from w2e_onnx.profiles import ORT_CPU

COLUMNS, ROWS = 512, 5
QUANTIZED = [t for t in TYPES.values() if t.elements > 1]


class Held:
    """Bytes in memory where a file's would be."""

    def __init__(self, data: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> None:
        self.data = data

    def read(self, offset: int, count: int) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
        return self.data[offset : offset + count]


def random_tensor(number: int, seed: int) -> Tensor:
    layout = TYPES[number].layout
    random = np.random.default_rng(seed)
    data = random.integers(0, 256, ROWS * layout.row_bytes(COLUMNS), dtype=np.uint8)
    storage = PackedStorage(layout=layout, columns=COLUMNS, source=Held(data))
    return Tensor(
        name=layout.label, shape=(ROWS, COLUMNS), dtype="float32", encoding=layout.encoding,
        storage=storage,
    )  # fmt: skip


def without_graph(profile: Profile) -> Profile:
    forms = tuple(f for f in profile.forms if Role.MATMUL in f.roles)
    anywhere = tuple(
        Form(**{n: getattr(f, n) for n in f.__slots__} | {"roles": frozenset(Role)}) for f in forms
    )
    return Profile(name=profile.name, title=profile.title, forms=anywhere, needs_graph=False)


@pytest.mark.parametrize("mode", ["int8", "float"])
@pytest.mark.parametrize("number", [t.id for t in QUANTIZED], ids=[t.name for t in QUANTIZED])
def test_every_ggml_type_is_exact(number: int, mode: str) -> None:
    tensor = random_tensor(number, seed=number)
    model = Model(tensors={tensor.name: tensor})
    request = Request(profile="ort-cpu", options={"activations": mode})
    decision = negotiate(model, without_graph(ORT_CPU), request)[tensor.name]
    with np.errstate(all="ignore"):
        want, got = tensor.dequantize(), decision.tensor.dequantize()
    assert decision.loss.grade is Grade.EXACT
    assert decision.tensor.encoding.scale == FLOAT32
    assert np.array_equal(want, got, equal_nan=True)
    assert (
        np.array_equal(np.signbit(want), np.signbit(got))
        or np.isnan(want).any()
        or (want == 0).any()
    )


def form(**fields: object) -> Form:
    base: dict[str, object] = {"name": "form", "roles": frozenset(Role), "blocks": (32, 16)}
    return Form(**(base | fields))  # type: ignore[arg-type]


@given(
    bits=st.integers(2, 8),
    signed=st.booleans(),
    block=st.sampled_from([16, 32, 64]),
    constant=st.one_of(st.none(), st.integers(0, 3)),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_integer_codes_move_without_loss(
    bits: int, signed: bool, block: int, constant: int | None, seed: int
) -> None:
    random = np.random.default_rng(seed)
    codes = Integer(bits=bits, signed=signed)
    offset = None if constant is None else constant_zero(constant)
    encoding = blocked(codes, block, FLOAT16, offset)
    stored = random.integers(codes.low, codes.high, (3, 128), endpoint=True)
    scale = random.normal(size=(3, 128 // block)).astype(np.float16)
    parts = Parts(codes=stored.astype(np.int8 if signed else np.uint8), scale=Parts(codes=scale))
    target = form(codes=Integer(bits=8), offset=OffsetForm.STORED)
    try:
        steps = list(path(encoding, target))
    except Unreachable as reason:
        # A zero point moved to the middle of eight bits may leave no room for the largest codes.
        assert constant is not None, reason
        assert "fit" in str(reason)
        return
    moved = parts
    for step in steps:
        moved = step.apply(moved)
    assert steps[-1].after.codes == Integer(bits=8)
    assert np.array_equal(decode(encoding, parts), decode(steps[-1].after, moved))


@pytest.mark.parametrize(
    ("encoding", "target", "reason"),
    [
        (blocked(Integer(bits=4), 24, FLOAT16), form(codes=Integer(bits=4)), "no blocks of 24"),
        (blocked(Integer(bits=8), 32, FLOAT16), form(codes=Integer(bits=4)), "do not fit uint4"),
        (
            blocked(Table(name="nf4", values=(-1.0, 0.3)), 32, FLOAT16),
            form(codes=Integer(bits=4)),
            "no integers",
        ),
        (
            blocked(Integer(bits=4), 32, FLOAT16, zero_point(4)),
            form(codes=Integer(bits=4)),
            "none offsets",
        ),
        (
            Encoding(codes=Integer(bits=4), block=(1, 0), scale=FLOAT32, scale_divides=True),
            form(codes=Integer(bits=4), blocks=()),
            "divided scales",
        ),
    ],
)
def test_what_a_form_can_not_say_has_a_reason(
    encoding: Encoding, target: Form, reason: str
) -> None:
    with pytest.raises(Unreachable, match=reason):
        list(path(encoding, target))


def test_digits_bound_the_product() -> None:
    assert digits(FLOAT16) == 11
    assert digits(blocked(Integer(bits=6), 8, FLOAT16)) == 17
    assert digits(Encoding(codes=Table(name="odd", values=(0.0, 0.375, -5.0)))) == 3
    assert digits(FLOAT32) == 24


def test_float_storage_is_a_grade_and_beyond_the_default_budget() -> None:
    codes = np.zeros((1, 48), np.uint8)
    storage = OwnedStorage(whole=Parts(codes=codes, scale=Parts(codes=np.ones((1, 2), np.float32))))
    tensor = Tensor(
        name="odd", shape=(1, 48), dtype="float32", storage=storage,
        encoding=blocked(Integer(bits=4), 24, FLOAT32),
    )  # fmt: skip
    decision = negotiate(
        Model(tensors={"odd": tensor}), without_graph(ORT_CPU), Request(profile="ort-cpu")
    )["odd"]
    assert decision.loss.grade is Grade.FLOAT
    assert "no blocks of 24" in decision.loss.reason
    assert not Budget().accepts(decision.loss.grade)
    assert Budget(allow_float=True).accepts(decision.loss.grade)
