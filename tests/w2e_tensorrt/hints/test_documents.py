"""JSON around an engine: what the builder is given, what its inspector prints, how a checkpoint is quantized."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import w2e_bridge
from w2e_bridge.errors import FormatError
from w2e_bridge.ir.model import Model
from w2e_tensorrt.hints import modelopt
from w2e_tensorrt.hints.hf_quant import meaning

OLD_LAYERS = [
    {
        "Name": "QuantizeLinear_2", "LayerType": "Reformat", "Origin": "QDQ",
        "Inputs": [{"Name": "x", "Format/Datatype": "Row major linear FP32"}], "Outputs": [],
    },
    {
        "Name": "conv.weight + QuantizeLinear_8 + Conv_12 + PWN(Clip_16)",
        "LayerType": "CaskConvolution", "Weights": {"Type": "Int8", "Count": 864},
        "Inputs": [
            {"Name": "q", "Format/Datatype": "Four wide channel vectorized row major Int8 format"}
        ],
        "Outputs": [],
    },
    {
        "Name": "Gemm_3", "LayerType": "gemm", "ParameterType": "MatrixMultiply",
        "Inputs": [{"Name": "y", "Format/Datatype": "Two wide channel vectorized row major FP16"}],
        "Outputs": [],
    },
]  # fmt: skip

NEW = {
    "Layers": [
        {
            "Name": "fused_0", "LayerType": "kgen",
            "Metadata": "[ONNX Layer: /a/Conv]\x1e[ONNX Layer: /a/Relu]",
            "Inputs": [{"Name": "x", "Format": "LINEAR", "Datatype": "BF16"}], "Outputs": [],
        }
    ],
    "I/O Tensors": [
        {
            "Name": "x", "IOMode": "INPUT", "DataType": "FP32", "Dimensions": [-1, 3],
            "ProfileInfo": [
                {"MinShape": [1, 3], "OptShape": [2, 3], "MaxShape": [4, 3], "Format": "LINEAR"}
            ],
        },
        {"Name": "y", "IOMode": "OUTPUT", "DataType": "FP32", "ProfileInfo": []},
    ],
}  # fmt: skip


def opened(folder: Path, name: str, document: object) -> Model:
    path = folder / name
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return w2e_bridge.open(path)


def test_scales_and_nodes_of_qdq_translator(tmp_path: Path) -> None:
    document = {"int8_tensor_scales": {"x": 0.0078125, "a:b": 0.3}, "fp16_nodes": ["add", "add"]}
    model = opened(tmp_path, "net_precision_config.json", document)
    assert model.hints.values == {"layer_precisions": {"add": "fp16"}}
    scales = {name: row.scale for name, row in model.activations.items()}
    assert scales == {"x": np.float32(0.0078125), "a:b": np.float32(0.3)}


def test_its_scales_become_a_cache(tmp_path: Path) -> None:
    document = {"int8_tensor_scales": {"x": 0.0078125}, "fp16_nodes": []}
    opened(tmp_path, "net_precision_config.json", document)
    cache = tmp_path / "some.cache"
    w2e_bridge.convert(tmp_path / "net_precision_config.json", to="calibration_cache", out=cache)
    assert cache.read_text().splitlines()[1:] == ["x: 3c000000"]


def test_precisions_of_an_engine_up_to_release_10(tmp_path: Path) -> None:
    model = opened(tmp_path, "e.json", {"Layers": OLD_LAYERS, "Bindings": ["x", "y"]})
    assert model.hints.values == {
        "layer_precisions": {"Conv_12": "int8", "Clip_16": "int8", "Gemm_3": "fp16"}
    }
    assert not model.activations
    assert [row.name for row in model.remarks] == ["scales"]
    assert model.metadata["tensorrt"] == "10 or older"


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("Conv_1 + PWN(PWN(Sigmoid_2), Mul_3)", ["Conv_1", "Sigmoid_2", "Mul_3"]),
        ("PWN(a + b) + (Unnamed Layer* 4) [Shuffle]", ["a", "b", "(Unnamed Layer* 4) [Shuffle]"]),
        ("a+b", ["a+b"]),
        ("{ForeignNode[a...b]}", []),
        ("PWN(" * 5000 + "a" + ")" * 5000, None),
    ],
)
def test_a_fused_layer_is_its_members(name: str, layers: list[str] | None, tmp_path: Path) -> None:
    layer = {"Name": name, "LayerType": "x", "Inputs": [{"Datatype": "FP16"}]}
    found = opened(tmp_path, "e.json", {"Layers": [layer]}).hints.values
    expected = {"layer_precisions": dict.fromkeys(layers or [], "fp16")} if layers else {}
    assert found == expected or layers is None


def test_a_precision_that_no_option_can_say_is_left_out(tmp_path: Path) -> None:
    layer = {"Name": "a", "LayerType": "x", "Inputs": [{"Datatype": "FP4"}]}
    assert opened(tmp_path, "e.json", {"Layers": [layer]}).hints.values == {}


def test_precisions_and_profiles_of_an_engine_of_release_11(tmp_path: Path) -> None:
    model = opened(tmp_path, "e.json", NEW)
    assert model.hints.values == {
        "layer_precisions": {"/a/Conv": "bf16", "/a/Relu": "bf16"},
        "shape_profiles": [{"x": {"min": [1, 3], "opt": [2, 3], "max": [4, 3]}}],
    }
    assert model.metadata["tensorrt"] == "11 or newer"


def test_names_alone_have_no_precision(tmp_path: Path) -> None:
    model = opened(tmp_path, "e.json", {"Layers": ["a", "b"], "Bindings": []})
    assert not model.hints.values
    assert "--profilingVerbosity=detailed" in model.remarks[1].reason


def test_a_checkpoint_and_its_copy_say_the_same(tmp_path: Path) -> None:
    said = {
        "quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8", "group_size": 16,
        "exclude_modules": ["lm_head"],
    }  # fmt: skip
    producer = {"name": "modelopt", "version": "0.47.0"}
    whole = opened(tmp_path, "hf_quant_config.json", {"producer": producer, "quantization": said})
    copy = {
        "model_type": "llama",
        "quantization_config": {
            "quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head"],
            "producer": producer, "kv_cache_scheme": {"type": "float", "num_bits": 8},
        },
    }  # fmt: skip
    assert whole.hints.values == {"quantization": said}
    assert opened(tmp_path, "config.json", copy).hints.values == whole.hints.values
    assert whole.metadata == {"producer.name": "modelopt", "producer.version": "0.47.0"}
    found = w2e_bridge.api.inspect(tmp_path / "hf_quant_config.json")["file"]
    assert isinstance(found, dict)
    rows = {row["suffix"]: row["formula"] for row in found["NVFP4 tensors"]}
    assert rows["weight_scale_2"] == rows["input_scale"] == "amax / (6 × 448)"
    assert [row["suffix"] for row in found["FP8 cache"]] == ["k_proj.k_scale", "v_proj.v_scale"]


def test_each_layer_its_own_algorithm(tmp_path: Path) -> None:
    layers = {"a": {"quant_algo": "FP8"}, "b": {"quant_algo": "W4A8_AWQ"}, "c": {"quant_algo": "?"}}
    document = {"quantization": {"quant_algo": "MIXED_PRECISION", "quantized_layers": layers}}
    model = opened(tmp_path, "hf_quant_config.json", document)
    said = model.hints.values["quantization"]
    assert isinstance(said, dict)
    assert said["quantized_layers"]["b"] == {"quant_algo": "W4A8_AWQ", "group_size": 128}
    assert [row.name for row in model.remarks] == ["?", "tensors"]
    assert {"FP8", "W4A8_AWQ"} <= meaning(said).keys()


def test_the_meaning_agrees_with_the_arithmetic() -> None:
    """Codes of the largest weight reach the end of their range under the formulas of the table."""
    amax, block = 5.0, 3.0
    second = amax / (modelopt.FP4_MOST * modelopt.FP8_MOST)
    scale = block / (modelopt.FP4_MOST * second)
    assert block / (scale * second) == pytest.approx(modelopt.FP4_MOST)
    assert amax / (modelopt.FP4_MOST * second) == pytest.approx(modelopt.FP8_MOST)
    parts = {part.suffix: part.formula for part in modelopt.ALGORITHMS["NVFP4"].parts}
    assert parts["weight_scale"] == "amax / (6 × weight_scale_2)"
    assert parts["weight_scale_2"] == "amax / (6 × 448)"


def test_every_algorithm_has_a_weight_and_a_scale() -> None:
    for name, row in modelopt.ALGORITHMS.items():
        suffixes = [part.suffix for part in row.parts]
        assert suffixes[:2] == ["weight", "weight_scale"], name
        assert len(set(suffixes)) == len(suffixes), name
        assert ("static" in row.activations) <= ("input_scale" in suffixes), name
        assert (row.group > 0) == any("G" in part.shape for part in row.parts[:2]), name


def test_layer_precisions_lie_beside_the_build_settings(tmp_path: Path) -> None:
    document = {"schema": 1, "tensorrt": ">=10,<11", "layer_precisions": "layers.txt"}
    lost = opened(tmp_path, "build.json", document)
    assert not lost.hints.values
    assert "not to be had" in lost.remarks[0].reason
    (tmp_path / "layers.txt").write_text("a:int8,b:fp32\n")
    found = opened(tmp_path, "build.json", document)
    assert found.hints.values == {"layer_precisions": {"a": "int8", "b": "fp32"}}
    with pytest.raises(FormatError, match="no name of a file beside"):
        opened(tmp_path, "build.json", {**document, "layer_precisions": "../layers.txt"})


@pytest.mark.parametrize(
    ("name", "document", "problem"),
    [
        ("a.json", '{"Layers": [', "line 1: no JSON"),
        ("a.json", '\n\n{"a": 1,}', "line 3: no JSON"),
        ("a.json", "{}", "expected build.json"),
        ("a.json", '[{"count": 1}]', "expected a JSON object"),
        ("a.json", '{"a": NaN}', "no number"),
        ("a.json", '{"a": ' + "9" * 5000 + "}", "no JSON"),
        ("a.json", '{"a":' * 40 + "1" + "}" * 40, "more than 32 levels"),
        ("a.json", '{"a":' * 20000 + "1" + "}" * 20000, "too many levels"),
        ("a.json", {"Layers": [{"Name": 3, "Inputs": [{"Datatype": "FP32"}]}]}, "'Layers[0].Name'"),
        ("a.json", {"Layers": [{"Name": "a", "Inputs": {}}]}, "'Layers[0].Inputs': expected a list"),
        ("a.json", {"Layers": ["a", {}, 3]}, "'Layers[0]': expected an object"),
        ("p_precision_config.json", {"int8_tensor_scales": {"x": "1"}}, "expected a scale"),
        ("p_precision_config.json", {"int8_tensor_scales": {"x": True}}, "expected a scale"),
        ("p_precision_config.json", {"int8_tensor_scales": {"x": 10**400}}, "out of range"),
        ("p_precision_config.json", {"int8_tensor_scales": [1]}, "expected an object"),
        ("p_precision_config.json", {"int8_tensor_scales": {}, "fp16_nodes": [1]}, "list of names"),
        ("build.json", {"schema": 2, "tensorrt": ">=11"}, "expected 1"),
        ("build.json", {"schema": 1, "tensorrt": ">=11", "profiles": [3]}, "'profiles[0]'"),
        (
            "build.json",
            {"schema": 1, "tensorrt": ">=11", "profiles": [{"x": {"min": [1], "opt": [-1]}}]},
            "'profiles[0].x.opt': expected a list of extents",
        ),
        ("hf_quant_config.json", {"quantization": {"quant_algo": 8}}, "expected text"),
        (
            "hf_quant_config.json",
            {"quantization": {"quant_algo": "NVFP4", "group_size": -16}},
            "expected a positive number",
        ),
    ],
)  # fmt: skip
def test_a_damaged_document_is_named(
    name: str, document: object, problem: str, tmp_path: Path
) -> None:
    with pytest.raises(FormatError) as caught:
        opened(tmp_path, name, document)
    assert problem in str(caught.value)
    assert name in str(caught.value)
