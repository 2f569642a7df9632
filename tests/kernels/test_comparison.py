"""Comparisons, logic and choice as nodes and back."""

from __future__ import annotations

import numpy as np
import pytest

from tests.kernels.pairs import Case, found, read

A = np.asarray([[1, 2, 3], [-1, 0, 5]], np.float32)
B = np.asarray([1, 0, 4], np.float32)
TRUTH = A > 1
CHOICES = [np.asarray([[True], [False]]), TRUTH]


def check(case: Case, kind: str = "") -> None:
    """As `Case.check`, for truth values."""
    again, _ = found(case.model())
    assert again.kind == (kind or case.kind)
    assert len(again.inputs) == len(case.inputs)
    np.testing.assert_array_equal(case.by_onnxruntime(), case.by_litert())


@pytest.mark.parametrize(
    "kind", ["equal", "not_equal", "less", "less_equal", "greater", "greater_equal"]
)
def test_comparisons(kind: str) -> None:
    check(Case(kind=kind, inputs=[A, B], attributes={}, shape=A.shape, dtype="bool"))


@pytest.mark.parametrize("kind", ["logical_and", "logical_or"])
def test_logic(kind: str) -> None:
    inputs = [TRUTH, A < 4]
    check(Case(kind=kind, inputs=inputs, attributes={}, shape=A.shape, dtype="bool"))


def test_negation() -> None:
    check(Case(kind="logical_not", inputs=[TRUTH], attributes={}, shape=A.shape, dtype="bool"))


@pytest.mark.parametrize("condition", CHOICES)
def test_choice(condition: np.ndarray) -> None:
    check(Case(kind="select_v2", inputs=[condition, A, B], attributes={}, shape=A.shape))


def test_choice_of_one_shape_is_the_newer_operator() -> None:
    check(Case(kind="select", inputs=[TRUTH, A, -A], attributes={}, shape=A.shape), "select_v2")


def test_choice_of_slices() -> None:
    case = Case(kind="select", inputs=[TRUTH[0], A.T.copy(), -A.T], attributes={}, shape=(3, 2))
    np.testing.assert_array_equal(case.by_onnxruntime(), case.by_litert())


@pytest.mark.parametrize(
    ("nodes", "kind"),
    [("e = Equal(x, z); y = Not(e)", "not_equal"), ("y = GreaterOrEqual(x, z)", "greater_equal")],
)
def test_as_exporters_write_it(nodes: str, kind: str) -> None:
    assert read(nodes, {"x": [2, 3], "z": [3]}).kind == kind
