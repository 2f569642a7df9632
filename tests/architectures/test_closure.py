"""Every tensor has its place and every place its tensor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.architectures.tiny import tensor, tiny
from w2e_bridge.architectures.base import build
from w2e_bridge.errors import UnsupportedError
from w2e_bridge.ir.model import Model
from w2e_bridge.ir.tensor import plain_tensor

FAMILIES = ["llama", "qwen2", "qwen3", "gemma2"]


def refusal(model: Model) -> str:
    assert model.architecture is not None
    with pytest.raises(UnsupportedError) as raised:
        build(model.architecture, model.tensors, "f.gguf")
    line = str(raised.value)
    assert line.startswith("f.gguf")
    assert "\n" not in line
    return line


def with_roles(model: Model, roles: dict[str, str]) -> Model:
    assert model.architecture is not None
    return replace(model, architecture=replace(model.architecture, roles=roles))


@pytest.mark.parametrize("family", FAMILIES)
def test_any_tensor_missing(family: str) -> None:
    model = tiny(family).model()
    assert model.architecture is not None
    for role, name in model.architecture.roles.items():
        if role == "output.weight":
            continue
        rest = {n: t for n, t in model.tensors.items() if n != name}
        assert f"'{name}'" in refusal(replace(model, tensors=rest))
        roles = {r: n for r, n in model.architecture.roles.items() if r != role}
        assert f"'{role}'" in refusal(with_roles(replace(model, tensors=rest), roles))


@pytest.mark.parametrize("family", FAMILIES)
def test_any_tensor_of_another_shape(family: str) -> None:
    model = tiny(family).model()
    for name, old in model.tensors.items():
        array = np.zeros((*old.shape[:-1], old.shape[-1] + 1))
        line = refusal(replace(model, tensors={**model.tensors, name: tensor(name, array)}))
        expected, found = list(old.shape), list(array.shape)
        assert line.startswith(f"f.gguf '{name}': expected shape {expected}")
        assert line.endswith(f"found {found}")


def test_matrix_turned_over() -> None:
    model = tiny("llama").model()
    name = "t.layers.1.down.weight"
    turned = tensor(name, model.tensors[name].dequantize().T.astype(np.float64))
    line = refusal(replace(model, tensors={**model.tensors, name: turned}))
    assert line == (
        f"f.gguf '{name}': expected shape [32, 24] as 'layers.1.down.weight', found [24, 32]"
    )


def test_weights_that_are_no_floats() -> None:
    model = tiny("llama").model()
    name = "t.output_norm.weight"
    integers = plain_tensor(name, np.zeros(32, np.int8))
    line = refusal(replace(model, tensors={**model.tensors, name: integers}))
    assert line == f"f.gguf '{name}': expected float numbers as 'output_norm.weight', found int8"


@pytest.mark.parametrize(
    "role",
    ["layers.0.q.bias", "layers.1.gate.bias", "layers.0.q_norm.weight", "token_type_embedding.weight",
     "layers.2.q.weight", "embedding.bias", "output_norm.bias", "layers.0.attention_norm.bias",
     "layers.0.sinks.weight"],
)  # fmt: skip
def test_tensor_without_a_place(role: str) -> None:
    """Of a family that has no such thing."""
    line = refusal(tiny("gemma2").model({role: np.ones(32)}))
    expected = f"f.gguf 't.{role}': a tensor as '{role}' has no place in a network of family gemma2"
    assert line == expected


def test_tensor_without_a_role() -> None:
    model = tiny("llama").model()
    more = {name: tensor(name, np.ones(3)) for name in ("mystery", "riddle")}
    line = refusal(replace(model, tensors={**model.tensors, **more}))
    assert line == (
        "f.gguf 'mystery': a tensor whose role is not known has no place in a network of family "
        "llama (and 1 more)"
    )


def test_factor_of_the_embedding() -> None:
    line = refusal(tiny("llama", tied=True).model({"embedding.scale": np.ones(1)}))
    assert "a factor of the embedding's whole matrix is not known" in line


def test_factor_of_more_than_one_number() -> None:
    line = refusal(tiny("llama").model({"layers.0.q.scale": np.ones(4)}))
    assert line.endswith("expected shape [1] as 'layers.0.q.scale', found [4]")


@pytest.mark.parametrize("values", [[1.0, 0.0, 1.0, 1.0], [1.0, -2.0, 1.0, 1.0], [np.nan] * 4])
def test_factors_of_frequencies_that_are_none(values: list[float]) -> None:
    line = refusal(tiny("llama").model({"rope_factors.weight": np.array(values)}))
    assert line == "f.gguf 't.rope_factors.weight': expected frequency factors above 0"


def test_factors_of_frequencies_of_another_count() -> None:
    line = refusal(tiny("llama").model({"rope_factors.weight": np.ones(8)}))
    assert line.endswith("expected shape [4] as 'rope_factors.weight', found [8]")


def test_tensors_that_are_used_up_are_said() -> None:
    model = tiny("llama").model(
        {"rope_factors.weight": np.ones(4), "layers.0.gate.input_scale": np.ones(1)}
    )
    assert model.architecture is not None
    built = build(model.architecture, model.tensors)
    said = {remark.name: remark.reason for remark in built.remarks}
    assert said == {
        "t.rope_factors.weight": "its factors are in the rotary tables",
        "t.layers.0.gate.input_scale": "a hint for rounding activations, which are not rounded by it",
    }
    assert not said.keys() & built.tensors.keys()
    assert built.made == {"rope.cos", "rope.sin"}
    assert built.tensors.keys() == (model.tensors.keys() - said.keys()) | built.made
