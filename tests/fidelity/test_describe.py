"""What `inspect` shows of everything that a model can hold, without reading a weight."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from inline_snapshot import snapshot

from tests.cli.runner import run_main
from w2e_bridge import api
from w2e_bridge.fidelity.describe import Document, describe
from w2e_bridge.fidelity.report import to_json
from w2e_bridge.formats.spec import OptionValue
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.architecture import Architecture, Rope
from w2e_bridge.ir.codes import Integer
from w2e_bridge.ir.encoding import FLOAT16, blocked, constant_zero
from w2e_bridge.ir.model import Model, Origin, Remark
from w2e_bridge.ir.parts import Parts
from w2e_bridge.ir.tensor import ComputedStorage, Tensor


class Tokenizer:
    """One that has files."""

    missing = None
    notes = (("add_bos", "the target adds none"),)

    def save(self, folder: Path) -> list[str]:
        raise NotImplementedError


def unread(start: int, stop: int) -> Parts:
    raise AssertionError("inspecting reads no weights")


def tensor(name: str, *shape: int) -> Tensor:
    encoding = blocked(Integer(bits=4), 32, FLOAT16, constant_zero(8))
    storage = ComputedStorage(compute=unread)
    return Tensor(name=name, shape=shape, dtype="float32", encoding=encoding, storage=storage)


def graph() -> ir.Model:
    value = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([1, "tokens"]))
    node = ir.node("Relu", inputs=[value])
    node.outputs[0].name = "y"
    body = ir.Graph([value], [node.outputs[0]], nodes=[node], opset_imports={"": 23}, name="g")
    return ir.Model(body, ir_version=10)


@pytest.fixture
def model() -> Model:
    """A model with a bit of everything."""
    architecture = Architecture(
        family="llama", source="gguf", layers=2, hidden=64, intermediate=(128, 192), heads=(4, 4),
        kv_heads=(2, 1), head_size=16, value_head_size=16, vocabulary=100, context=512,
        norm_epsilon=1e-5, rope=Rope(), experts=8, experts_used=2,
    )  # fmt: skip
    return Model(
        tensors={name: tensor(name, 8, 64) for name in ("a", "b")},
        graph=graph(),
        architecture=architecture,
        tokenizer=Tokenizer(),
        metadata={"general.name": "Lama", "tokens": tuple(range(1000)), "bad": float("nan")},
        activations={"x": ActivationQuantization(codes=Integer(bits=8), scale=np.array(0.5))},
        remarks=(Remark(name="k", reason="no place"),),
        origin=Origin(format="gguf", path="m.gguf", nbytes=2000),
        components={"draft": Model(tensors={"c": tensor("c", 4, 32)}, kind="projector")},
    )


def test_the_description_is_json(model: Model) -> None:
    document = describe(model)
    assert json.loads(to_json(document)) == document | {"metadata": document["metadata"]}
    assert document["graph"] == {
        "opsets": {"": 23},
        "nodes": 1,
        "operators": {"Relu": 1},
        "inputs": [{"name": "x", "dtype": "float", "shape": [1, "tokens"]}],
        "outputs": [{"name": "y", "dtype": None, "shape": None}],
    }
    assert document["weights"]["bits_per_weight"] == 4.5


def test_what_people_see(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def inspect(path: str, **options: OptionValue) -> Document:
        return describe(model)

    monkeypatch.setattr(api, "inspect", inspect)
    assert run_main("inspect", "m.gguf").stdout == snapshot("""\
m.gguf  gguf, model, 2.0 KiB
  network    llama: 2 layers, hidden 64, 4 heads (1 to 2 key/value) of 16, 2 of 8 experts, vocabulary 100, context 512
  graph      1 node, x → y
  tokenizer  yes
  weights    2 tensors, 1.02 K weights, 576 B, 4.50 bits per weight

  encoding                           tensors  weights   size  bits per weight
  uint4[32] × float16, zero point 8        2   1.02 K  576 B             4.50

metadata
  general.name = Lama
  tokens = [0, 1, 2, 3, 4, 5, …] (1000)
  bad = nan
not carried
  k: no place

component draft (projector)
  weights    1 tensor, 128 weights, 72 B, 4.50 bits per weight

  encoding                           tensors  weights  size  bits per weight
  uint4[32] × float16, zero point 8        1      128  72 B             4.50

""")
