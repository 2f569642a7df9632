"""The functions of the domain `w2e`, evaluated by two tools."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator

from w2e_bridge.graph.functions import DOMAIN, FUNCTIONS, OPSET, declare

Ints = np.ndarray[Any, np.dtype[np.int64]]


def calling(function: str, **attributes: int) -> Any:
    """A model that is one call."""
    kinds = [ir.TensorType(ir.DataType.INT64)] * 2
    inputs = [
        ir.Value(name=name, type=kind, shape=ir.Shape(["batch", extent]))
        for name, kind, extent in zip(
            ("attention_mask", "input_ids"), kinds, ("total", "sequence"), strict=True
        )
    ]
    node = ir.node(function, inputs, attributes, domain=DOMAIN, num_outputs=1)
    node.outputs[0].name = "y"
    bools = function == "CausalMask"
    node.outputs[0].type = ir.TensorType(ir.DataType.BOOL if bools else ir.DataType.INT64)
    graph = ir.Graph(inputs, node.outputs, nodes=[node], opset_imports={"": OPSET}, name=function)
    model = ir.Model(graph, ir_version=10)
    declare(model, function)
    return ir.serde.serialize_model(model)


def reference(proto: Any, feeds: dict[str, Ints]) -> Any:
    """What ONNX's own evaluator says."""
    return ReferenceEvaluator(proto).run(None, feeds)


def evaluate(proto: Any, mask: Ints, sequence: int) -> np.ndarray[Any, Any]:
    """What both tools agree on."""
    feeds = {"attention_mask": mask, "input_ids": np.zeros((len(mask), sequence), np.int64)}
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, feeds)
    (other,) = reference(proto, feeds)
    np.testing.assert_array_equal(found, other)
    result: np.ndarray[Any, Any] = found
    return result


def test_positions_count_real_tokens() -> None:
    mask = np.array([[1, 1, 1, 1], [0, 0, 1, 1], [1, 1, 0, 1]])
    found = evaluate(calling("Positions"), mask, 3)
    np.testing.assert_array_equal(found, [[1, 2, 3], [0, 0, 1], [1, 1, 2]])


@pytest.mark.parametrize("window", [0, 1, 2, 100])
@pytest.mark.parametrize("sequence", [1, 3, 5])
def test_mask_of_whole_texts(window: int, sequence: int) -> None:
    total = 5
    found = evaluate(calling("CausalMask", window=window), np.ones((2, total), np.int64), sequence)
    assert found.shape == (2, 1, sequence, total)
    for row, query in enumerate(range(total - sequence, total)):
        first = max(0, query - window + 1) if window else 0
        expected = [first <= key <= query for key in range(total)]
        np.testing.assert_array_equal(found[0, 0, row], expected)


@settings(derandomize=True, max_examples=25, deadline=None)
@given(
    st.lists(st.lists(st.booleans(), min_size=6, max_size=6), min_size=1, max_size=3),
    st.integers(1, 6),
    st.integers(0, 4),
)
def test_mask_of_padded_texts(rows: list[list[bool]], sequence: int, window: int) -> None:
    """A real token attends to what it would without the padding."""
    mask = np.array(rows, np.int64)
    proto = calling("CausalMask", window=window)
    ids = np.zeros((len(rows), sequence), np.int64)
    (found,) = reference(proto, {"attention_mask": mask, "input_ids": ids})
    for text, keys in enumerate(rows):
        real = [key for key, there in enumerate(keys) if there]
        for row, query in enumerate(range(6 - sequence, 6)):
            if not keys[query]:
                continue
            seen = real[: real.index(query) + 1]
            seen = seen[-window:] if window else seen
            np.testing.assert_array_equal(
                np.flatnonzero(found[text, 0, row]), seen, err_msg=f"{keys} {query} {window}"
            )


def test_each_call_makes_a_fresh_copy() -> None:
    for make in FUNCTIONS.values():
        assert make() is not make()
        assert make().domain == DOMAIN
