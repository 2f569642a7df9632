"""The audit finds what the writer got wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot

from tests.fidelity.test_compare import CODES, quantized
from w2e_bridge.errors import DefectError
from w2e_bridge.fidelity.audit import Audit, sample
from w2e_bridge.ir.tensor import Tensor, plain_tensor
from w2e_bridge.loss import Grade, TensorLoss
from w2e_bridge.negotiation.decision import Decision, Decisions
from w2e_bridge.negotiation.profile import Form, Role


def audit(
    source: Mapping[str, Tensor], decisions: Decisions, written: Mapping[str, Tensor], *, full: bool
) -> None:
    Audit(source, decisions, lambda: written, full=full).finish()


def decided(tensor: Tensor, grade: Grade = Grade.EXACT) -> Decision:
    row = TensorLoss(name=tensor.name, source_encoding="Q8", encoding="int8", grade=grade)
    form = Form(name="q8", roles=frozenset(Role))
    return Decision(
        tensor=tensor, source=tensor.encoding, form=form, roles=frozenset({Role.OTHER}), loss=row
    )


def test_what_is_exact_is_held_to_the_source() -> None:
    source, wrong = quantized("w"), quantized("w", CODES + np.int8(1))
    audit({"w": source}, {"w": decided(source)}, {"w": source}, full=True)
    # negotiation and writer agree on something that is not the source
    with pytest.raises(DefectError) as caught:
        audit({"w": source}, {"w": decided(wrong)}, {"w": wrong}, full=False)
    assert str(caught.value) == snapshot(
        "internal defect, please report: 'w' (Q8 to int8) rows 0 to 3: 12 of 12 values differ, by up to 1; nothing was kept"
    )
    assert caught.value.exit_code == 1


def test_what_is_not_exact_is_held_to_what_was_decided() -> None:
    source, rounded = quantized("w"), quantized("w", CODES + np.int8(1))
    audit({"w": source}, {"w": decided(rounded, Grade.ROUNDING)}, {"w": rounded}, full=True)
    with pytest.raises(DefectError):
        audit({"w": source}, {"w": decided(rounded, Grade.ROUNDING)}, {"w": source}, full=True)


def test_what_is_missing_or_of_another_shape_is_found() -> None:
    source = quantized("w")
    with pytest.raises(DefectError, match=r"'w' .* is not in the output"):
        audit({"w": source}, {"w": decided(source)}, {}, full=False)
    turned = plain_tensor("w", source.dequantize().T.copy())
    with pytest.raises(DefectError, match=r"has shape \(4, 3\) in the output, not \(3, 4\)"):
        audit({"w": source}, {"w": decided(source)}, {"w": turned}, full=False)


def test_a_matrix_may_be_turned_back_to_the_axes_of_the_source() -> None:
    own = plain_tensor("w", np.arange(16, dtype=np.float32).reshape(4, 4))
    turned = plain_tensor("w", own.dequantize().T.copy())
    decisions = {"w": decided(turned)}
    for written in (own, turned):
        found = {"w": written}.copy
        Audit({"w": turned}, decisions, found, full=True, turned={"w": own}).finish()
    wrong = plain_tensor("w", own.dequantize() + np.float32(1))
    with pytest.raises(DefectError, match="16 of 16 values differ"):
        Audit({"w": turned}, decisions, lambda: {"w": wrong}, full=True, turned={"w": own}).finish()


def test_full_finds_a_single_wrong_value_of_many() -> None:
    values = np.zeros((5000, 64), np.float32)
    wrong = values.copy()
    wrong[3001, 7] = 1e-30
    source, written = plain_tensor("w", values), plain_tensor("w", wrong)
    with pytest.raises(DefectError, match="1 of"):
        audit({"w": source}, {"w": decided(source)}, {"w": written}, full=True)


@settings(derandomize=True, max_examples=50)
@given(rows=st.integers(0, 5000), columns=st.integers(1, 5000), name=st.text(max_size=5))
def test_a_sample_has_the_ends_and_stays_inside(rows: int, columns: int, name: str) -> None:
    tensor = replace(quantized(name), shape=(rows, columns))
    spans = list(sample(tensor))
    assert spans == list(sample(tensor))
    assert (spans[0][0], spans[-1][1]) == (0, rows)
    assert all(0 <= a <= b <= rows for a, b in spans)
    assert sum(b - a for a, b in spans) * columns <= 4 * max(columns, 1 << 14)


def test_a_tensor_is_checked_once_and_what_was_left_out_at_the_end() -> None:
    source, lifted = quantized("w"), 0

    def lift() -> Mapping[str, Tensor]:
        nonlocal lifted
        lifted += 1
        return {"w": source}

    both = {"w": source, "v": source}
    audited = Audit(both, {"w": decided(source), "v": decided(source)}, lift, full=True)
    audited.check("w")
    audited.check("rope.cos")  # made by the writer: nothing to compare with
    with pytest.raises(DefectError, match="is not in the output"):
        audited.finish()
    assert lifted == 1
