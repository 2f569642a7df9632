"""ONNX Runtime's own operators, functions of the model's own, and whole language models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.architectures.tiny import tiny
from tests.passes.evaluation import Net, close, evaluated, feeds_of, litert_of, ready, uncovered
from tests.passes.test_legalize import check
from w2e_bridge.passes.attach_graph import AttachGraph

SHAPE = (2, 3, 8)


def own(
    op: str, *shapes: tuple[int, ...], outputs: int = 1, **attributes: Any
) -> Callable[[Net], Any]:
    def make(net: Net) -> Any:
        x = net.input(*SHAPE)
        rest = [net.weight(*shape) for shape in shapes]
        return net.add(op, x, *rest, outputs=outputs, domain="com.microsoft", **attributes)

    return make


OWN: dict[str, Callable[[Net], Any]] = {
    "Gelu": own("Gelu"),
    "BiasGelu": own("BiasGelu", (8,)),
    "FastGelu": own("FastGelu", (8,)),
    "FusedMatMul": own("FusedMatMul", (5, 8), transB=1, alpha=0.5),
    "SkipLayerNormalization": own("SkipLayerNormalization", SHAPE, (8,), (8,), (8,), epsilon=1e-5),
    "SkipSimplifiedLayerNormalization": own(
        "SkipSimplifiedLayerNormalization", SHAPE, (8,), epsilon=1e-5
    ),
}


@pytest.mark.parametrize("name", OWN)
def test_onnxruntimes_own_operators(name: str, tmp_path: Path) -> None:
    net = Net()
    made = OWN[name](net)
    net.known[made] = (2, 3, 5) if name == "FusedMatMul" else SHAPE
    check(net.proto(made), tmp_path)


def test_the_sum_that_a_normalization_gives_too(tmp_path: Path) -> None:
    net = Net()
    x, skip = net.input(*SHAPE), net.input(*SHAPE)
    inputs, outputs = [x, skip, net.weight(8)], ["y", "", "", "sum"]
    net.nodes.append(
        helper.make_node(
            "SkipSimplifiedLayerNormalization", inputs, outputs, domain="com.microsoft"
        )
    )
    net.known |= {"y": SHAPE, "sum": SHAPE}
    check(net.proto("y", "sum"), tmp_path)


def test_a_fused_convolution(tmp_path: Path) -> None:
    net = Net()
    inputs = [net.input(1, 3, 6, 6), net.weight(4, 3, 3, 3), net.weight(4)]
    made = net.add(
        "FusedConv", *inputs, domain="com.microsoft", activation="Relu", kernel_shape=[3, 3]
    )
    net.known[made] = (1, 4, 4, 4)
    check(net.proto(made), tmp_path)


def test_functions_of_the_model_become_their_bodies(tmp_path: Path) -> None:
    """With an attribute that the call says, one that it leaves out, and a call inside."""
    inner = helper.make_function(
        "own", "Leaky", ["x"], ["y"],
        [helper.make_node("LeakyRelu", ["x"], ["y"])], [helper.make_opsetid("", 21)],
    )  # fmt: skip
    inner.node[0].attribute.append(
        onnx.AttributeProto(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT)
    )
    inner.attribute_proto.append(helper.make_attribute("slope", 0.25))
    outer = helper.make_function(
        "own", "Both", ["a", "b"], ["y", "z"],
        [
            helper.make_node("Leaky", ["a"], ["l"], domain="own", slope=0.5),
            helper.make_node("Leaky", ["b"], ["z"], domain="own"),
            helper.make_node("Add", ["l", "z"], ["y"]),
        ],
        [helper.make_opsetid("", 21), helper.make_opsetid("own", 1)],
    )  # fmt: skip
    net = Net()
    y, z = net.add("Both", net.input(2, 3), net.input(2, 3), outputs=2, domain="own")
    net.known |= {y: (2, 3), z: (2, 3)}
    proto = net.proto(y, z)
    proto.functions.extend([inner, outer])
    check(proto, tmp_path)


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_a_language_model(family: str, tmp_path: Path) -> None:
    model = AttachGraph()(tiny(family).model()).model
    feeds = feeds_of(
        model, sizes={"sequence_length": 3, "batch_size": 1, "total_sequence_length": 5}
    )
    assert model.graph is not None
    ids = np.array([[1, 5, 7]], np.int64)
    for name, array in feeds.items():
        if array.ndim == 2:
            feeds[name] = ids if array.shape[1] == 3 else np.ones_like(array)
    wanted = evaluated(model, feeds)
    made = ready(model)
    close(evaluated(made, feeds), wanted, 1e-4)
    assert uncovered(made) == []
    close(litert_of(made, feeds, tmp_path), wanted, 1e-4)
