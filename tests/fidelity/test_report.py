"""The report is the same bytes for the same conversion, and JSON whatever is in it."""

from __future__ import annotations

import enum
import json
import math
from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from inline_snapshot import snapshot

from w2e_bridge.fidelity.report import Report, Written, plain, to_json, totals
from w2e_bridge.loss import Grade, Ignored, TensorLoss

ROW = TensorLoss(
    name="blk.0", source_encoding="Q4_K", encoding="uint4", grade=Grade.ROUNDING,
    max_error_steps=0.25, max_abs_error=math.inf, reason="scale to float16",
)  # fmt: skip
REPORT = Report(
    source="m.gguf", target="onnx", profile="ort-cpu", tensors=(ROW, replace(ROW, name="b")),
    ignored=(Ignored(name="k", reason="no place"),), hints=(("precision", "applied"),),
    conditions=("AVX2",), summary="4-bit codes kept; float32 activations",
    out="/somewhere", files=(Written(name="model.onnx", nbytes=7),),
)  # fmt: skip


def test_schema() -> None:
    assert to_json(REPORT.document(), indent=None) == snapshot(
        '{"schema": 1, "source": "m.gguf", "target": "onnx", "profile": "ort-cpu", "grade": "rounding", "tensors": [{"name": "blk.0", "source_encoding": "Q4_K", "encoding": "uint4", "grade": "rounding", "max_error_steps": 0.25, "max_abs_error": "inf", "reason": "scale to float16"}, {"name": "b", "source_encoding": "Q4_K", "encoding": "uint4", "grade": "rounding", "max_error_steps": 0.25, "max_abs_error": "inf", "reason": "scale to float16"}], "values": [], "ignored": [{"name": "k", "reason": "no place"}], "hints": [{"key": "precision", "effect": "applied"}], "conditions": ["AVX2"], "summary": "4-bit codes kept; float32 activations"}'
    )


def test_the_worst_grade_counts() -> None:
    assert REPORT.grade is Grade.ROUNDING
    assert replace(REPORT, tensors=()).grade is Grade.EXACT
    assert replace(REPORT, values=(replace(ROW, grade=Grade.FLOAT),)).grade is Grade.FLOAT


def test_totals_put_the_most_bytes_first() -> None:
    small, big = replace(ROW, source_encoding="F32", grade=Grade.EXACT), ROW
    found = totals([(small, 4, 4), (big, 100, 50), (small, 6, 5)])
    assert [(t.source_encoding, t.tensors, t.before, t.after) for t in found] == snapshot(
        [("Q4_K", 1, 100, 50), ("F32", 2, 10, 9)]
    )


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@settings(derandomize=True, max_examples=100)
@given(value=ANYTHING)
def test_anything_is_valid_json(value: object) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    text = to_json(value)
    text.encode("utf-8")
    assert json.loads(text, parse_constant=refuse) == plain(value)


def test_odd_values() -> None:
    class Color(enum.Enum):
        RED = (1, 2)

    odd = [math.nan, -math.inf, np.float32(1.5), np.int64(3), np.bool_(1), Color.RED, Grade.EXACT, "\udc80"]  # fmt: skip
    assert to_json(odd, indent=None) == snapshot(
        '["nan", "-inf", 1.5, 3, true, [1, 2], "exact", "\\udc80"]'
    )
    assert json.loads(to_json(odd))[-1] == "\udc80"
