"""What a graph looks like to the tools that get it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from tests.architectures.evaluate import Runner, filled
from tests.architectures.reference import FORWARD, Array, Ids, Net, attention, gelu_tanh
from tests.architectures.tiny import tensor, tiny
from w2e_bridge.architectures.base import Built, build
from w2e_bridge.architectures.family import Activation, Family, HeadNorm, Norm
from w2e_bridge.errors import Where
from w2e_bridge.graph.serialize import graph_bytes, graph_of
from w2e_bridge.graph.weights import weights_of
from w2e_bridge.ir.model import Model


def built(model: Model) -> Built:
    assert model.architecture is not None
    return build(model.architecture, model.tensors)


def types(values: list[ir.Value]) -> list[tuple[str | None, str, list[int | str | None]]]:
    found = []
    for value in values:
        assert value.shape is not None
        assert value.dtype is not None
        shape = [d if isinstance(d, int) else d.value for d in value.shape]
        found.append((value.name, value.dtype.name, shape))
    return found


def test_inputs_and_outputs_are_those_of_onnxruntime_genai() -> None:
    graph = built(tiny("llama", kv_heads=(2, 4), value_head_size=12).model()).graph.graph
    b, past, total = "batch_size", "past_sequence_length", "total_sequence_length"
    assert types(list(graph.inputs)) == [
        ("input_ids", "INT64", [b, "sequence_length"]),
        ("attention_mask", "INT64", [b, total]),
        ("past_key_values.0.key", "FLOAT", [b, 2, past, 8]),
        ("past_key_values.0.value", "FLOAT", [b, 2, past, 12]),
        ("past_key_values.1.key", "FLOAT", [b, 4, past, 8]),
        ("past_key_values.1.value", "FLOAT", [b, 4, past, 12]),
    ]
    assert types(list(graph.outputs)) == [
        ("logits", "FLOAT", [b, "sequence_length", 40]),
        ("present.0.key", "FLOAT", [b, 2, total, 8]),
        ("present.0.value", "FLOAT", [b, 2, total, 12]),
        ("present.1.key", "FLOAT", [b, 4, total, 8]),
        ("present.1.value", "FLOAT", [b, 4, total, 12]),
    ]


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma2"])
def test_valid_and_the_same_every_time(family: str) -> None:
    case = tiny(family)
    one, two = (built(case.model()) for _ in range(2))
    assert graph_bytes(one.graph) == graph_bytes(two.graph)
    assert list(one.tensors) == list(two.tensors)
    again = graph_of(graph_bytes(one.graph), Where(path="f"))
    assert graph_bytes(again) == graph_bytes(one.graph)
    model = replace(case.model(), graph=one.graph, tensors=one.tensors)
    proto = onnx.load_from_string(filled(model))
    onnx.checker.check_model(proto, full_check=True)


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma2"])
def test_names_are_unique_and_say_where(family: str) -> None:
    graph = built(tiny(family).model()).graph.graph
    names = [value.name for node in graph for value in node.outputs]
    assert max(Counter(names).values()) == 1
    assert all(node.name == node.outputs[0].name for node in graph)
    expected = {
        "embedding", "position_ids", "layers.1.attention.norm", "layers.1.attention.q",
        "layers.1.attention.q.rotated", "layers.1.attention", "layers.1.attention.o",
        "layers.1.attention.residual", "layers.1.feed_forward.gate", "layers.1.feed_forward.down",
        "layers.1.feed_forward.residual", "output_norm", "logits",
    }  # fmt: skip
    assert expected <= set(names)


def test_domains_and_operators() -> None:
    graph = built(tiny("gemma2", window=8).model()).graph
    assert dict(graph.graph.opset_imports) == {"": 23, "w2e": 1}
    assert {f.name for f in graph.functions.values()} == {"Positions", "CausalMask"}
    calls = [node for node in graph.graph if node.domain == "w2e"]
    assert Counter(node.op_type for node in calls) == {"Positions": 1, "CausalMask": 2}
    windows = [n.attributes["window"].as_int() for n in calls if n.op_type == "CausalMask"]
    assert windows == [0, 8]
    attention = [node for node in graph.graph if node.op_type == "Attention"]
    masks = [node.inputs[3].name for node in attention if node.inputs[3] is not None]
    assert masks == ["mask.8", "mask"]
    assert attention[0].attributes["softcap"].as_float() == 50.0


def test_attributes_say_no_more_than_they_need() -> None:
    graph = built(tiny("llama").model()).graph.graph
    attention = next(node for node in graph if node.op_type == "Attention")
    assert set(attention.attributes) == {"q_num_heads", "kv_num_heads", "scale"}
    rotary = next(node for node in graph if node.op_type == "RotaryEmbedding")
    assert set(rotary.attributes) == {"interleaved", "num_heads"}


def test_weights_are_stubs_of_exactly_the_tensors_in_order() -> None:
    case = tiny("llama", tied=True, biases=("q",)).model()
    found = built(case)
    assert [t.order for t in found.tensors.values()] == list(range(len(found.tensors)))
    assert {name for name, _ in weights_of(found.graph.graph)} == found.tensors.keys()
    names = list(found.tensors)
    assert names[:6] == [
        "t.embedding.weight", "t.layers.0.attention_norm.weight", "t.layers.0.q.weight",
        "t.layers.0.q.bias", "t.layers.0.k.weight", "t.layers.0.v.weight",
    ]  # fmt: skip
    assert names[6:8] == ["rope.cos", "rope.sin"]
    assert names[-1] == "t.output_norm.weight"
    uses = {name: len(value.uses()) for name, value in weights_of(found.graph.graph)}
    assert uses["t.embedding.weight"] == 2
    assert uses["rope.cos"] == 4


def test_matrices_are_turned_by_a_transpose_alone() -> None:
    """What `negotiation.roles` knows a matrix of a product by."""
    from w2e_bridge.negotiation.profile import Role
    from w2e_bridge.negotiation.roles import roles_of

    roles = roles_of(built(tiny("gemma2").model()).graph)
    assert roles["t.layers.0.q.weight"] == {Role.MATMUL}
    assert roles["t.embedding.weight"] == {Role.MATMUL, Role.EMBEDDING}
    assert roles["t.output_norm.weight"] == {Role.OTHER}


def test_no_weight_is_read() -> None:
    """Neither to build the graph nor to put it into bytes."""

    def refuse(start: int, stop: int) -> None:
        raise AssertionError(f"read {start}:{stop}")

    from w2e_bridge.ir.tensor import ComputedStorage

    model = tiny("gemma2").model()
    storage = ComputedStorage(compute=refuse)  # type: ignore[arg-type]
    closed = {name: replace(t, storage=storage) for name, t in model.tensors.items()}
    assert graph_bytes(built(replace(model, tensors=closed)).graph)


def test_every_float_is_computed_with_as_float32() -> None:
    model = tiny("llama").model()
    narrow = {name: replace(t, dtype="bfloat16") for name, t in model.tensors.items()}
    found = built(replace(model, tensors=narrow))
    assert {t.dtype for t in found.tensors.values()} == {"float32"}
    assert {v.dtype for _, v in weights_of(found.graph.graph)} == {ir.DataType.FLOAT}


def test_blocks_that_no_family_here_has_yet() -> None:
    """Layer norms after the blocks only, all heads normalized together, no gate: a family is a record."""
    family = Family(
        names=("other",), norm=Norm.LAYER, pre_norm=False, post_norm=True,
        head_norm=HeadNorm.WHOLE, activation=Activation.GELU_TANH, gated=False,
        biases=frozenset({"up", "down"}),
    )  # fmt: skip
    case = tiny("llama", "huggingface", biases=("up", "down"))
    weights = {r: w for r, w in case.net.weights.items() if "gate" not in r}
    for n in range(2):
        for part in ("attention", "ffn"):
            weights[f"layers.{n}.post_{part}_norm.weight"] = weights.pop(
                f"layers.{n}.{part}_norm.weight"
            )
            weights[f"layers.{n}.post_{part}_norm.bias"] = np.linspace(-1, 1, 32)
        weights[f"layers.{n}.q_norm.weight"] = np.linspace(0.5, 2, 32)
        weights[f"layers.{n}.k_norm.weight"] = np.linspace(0.5, 2, 16)
    roles = {role: role for role in weights}
    architecture = replace(case.architecture, roles=roles, family="other")
    tensors = {role: tensor(role, array) for role, array in weights.items()}
    found = build(architecture, tensors, description=family)
    ids = np.array([3, 1, 4, 1, 5, 9, 2, 6])
    runner = Runner(Model(tensors=found.tensors, graph=found.graph))
    fields = {name: getattr(case.net, name) for name in case.net.__dataclass_fields__}
    expected = _Other(**fields | {"weights": weights}).forward(ids)
    np.testing.assert_allclose(runner.logits(ids, [3, 5]), expected, rtol=0, atol=1e-4)


class _Other(Net):
    """Queries and keys are normalized as they leave their matrices."""

    def layer_norm(self, role: str, x: Array) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        spread = (centred**2).mean(-1, keepdims=True)
        y: Array = centred / np.sqrt(spread + self.epsilon) * self.weights[f"{role}.weight"]
        return y + self.weights.get(f"{role}.bias", np.zeros(1))

    def linear(self, role: str, x: Array) -> Array:
        y = super().linear(role, x)
        return self.layer_norm(f"{role}_norm", y) if role[-2:] in (".q", ".k") else y

    def forward(self, ids: Ids) -> Array:
        x = self.weights["embedding.weight"][ids]
        for n in range(self.layers):
            role = f"layers.{n}"
            y = attention(self, n, x, headed=False)
            x = x + self.layer_norm(f"{role}.post_attention_norm", y)
            y = self.linear(f"{role}.down", gelu_tanh(self.linear(f"{role}.up", x)))
            x = x + self.layer_norm(f"{role}.post_ffn_norm", y)
        return self.linear("output", self.layer_norm("output_norm", x))


def test_the_reference_evaluator_agrees() -> None:
    """ONNX's own evaluator runs the graph as well, on another implementation of every operator."""
    from onnx.reference import ReferenceEvaluator

    case = tiny("gemma2", window=4)
    found = built(case.model())
    model = Model(tensors=found.tensors, graph=found.graph)
    proto = onnx.load_from_string(filled(model))
    ids = np.arange(7)
    past = {i.name: np.zeros((1, 2, 0, 8), np.float32) for i in proto.graph.input[2:]}
    feeds = {"input_ids": ids[None], "attention_mask": np.ones((1, 7), np.int64), **past}
    found_logits: Any = ReferenceEvaluator(proto).run(["logits"], feeds)
    expected = FORWARD["gemma2"](replace(case.net, windows=(4, 0)), ids)
    np.testing.assert_allclose(found_logits[0][0], expected, rtol=0, atol=1e-4)
