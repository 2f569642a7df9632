"""Configurations of DeepStream and Triton."""

from __future__ import annotations

from pathlib import Path

import pytest

import w2e_bridge
from w2e_bridge.errors import FormatError
from w2e_bridge.formats.registry import sniff
from w2e_tensorrt.hints import nvinfer, pbtxt, triton
from w2e_tensorrt.hints.recognise import said
from w2e_tensorrt.hints.text import Said

NVINFER = """\
# of a detector
[property]
gpu-id=0
onnx-file=../model.onnx
int8-calib-file=../cal.bin
## 0=FP32, 1=INT8, 2=FP16 mode
network-mode=1
batch-size=16
infer-dims=3;384;1248   # set when the engine is made
workspace-size=1024
layer-device-precision=cls/mul:fp32:gpu;a:b:fp16:dla;

[class-attrs-all]
pre-cluster-threshold=0.3
"""

YAML = """\
property:
  onnx-file: ../model.onnx
  int8-calib-file: "../cal.bin"
  gpu-id: 0
  network-mode: 1
  batch-size: 16
  infer-dims: 3;384;1248
  workspace-size: 1024
  layer-device-precision: cls/mul:fp32:gpu;a:b:fp16:dla

class-attrs-all:
  topk: 300
"""

TRITON = """\
name: "detector"  # of the shop
platform: 'onnxruntime_onnx'
max_batch_size: 32
input [
  { name: "x" data_type: TYPE_FP32 dims: [3, 224, -1] },
  { name: "ids", data_type: TYPE_INT64, dims: [ -1 ] }
]
output { name: "y" data_type: TYPE_FP32 dims: [ 1000 ] }
instance_group [ { count: 2 kind: KIND_GPU gpus: [ 0, 1 ] } ]
optimization { execution_accelerators {
  gpu_execution_accelerator : [ {
    name : "tensorrt"
    parameters { key: "precision_mode" value: "FP16" }
    parameters { key: "max_workspace_size_bytes" value: "1073741824" }
    parameters { key: "int8_calibration_table_name" value: "cal.fb" }
    parameters { key: "trt_builder_optimization_level" value: "4" }
    parameters { key: "trt_sparsity_enable" value: "1" }
    parameters { key: "trt_profile_min_shapes" value: "x:1x3x224x8,x:9x3x224x8" }
    parameters { key: "trt_profile_opt_shapes" value: "x:4x3x224x8,x:9x3x224x8" }
    parameters { key: "trt_profile_max_shapes" value: "x:8x3x224x8,x:32x3x224x8" }
    parameters { key: "trt_engine_cache_enable" value: "1" }
  }]
}}
"""


def read_nvinfer(text: str) -> Said:
    return nvinfer.read(Path("some.txt"), text)


def read_triton(text: str) -> Said:
    return triton.read(Path("config.pbtxt"), text)


def accelerated(key: str, value: str) -> str:
    """A configuration with one parameter, on line 3."""
    parameter = f'parameters {{ key: "{key}" value: "{value}" }}'
    accelerator = f'gpu_execution_accelerator {{\nname: "tensorrt"\n{parameter} }}'
    return f"optimization {{ execution_accelerators {{ {accelerator} }} }}"


def test_nvinfer() -> None:
    assert read_nvinfer(NVINFER).hints == {
        "nvinfer.gpu-id": "0",
        "nvinfer.onnx-file": "../model.onnx",
        "calibration_file": "../cal.bin",
        "precisions": ["int8"],
        "max_batch_size": 16,
        "input_shapes": {"*": [3, 384, 1248]},
        "memory_pools": {"workspace": "1024M"},
        "layer_precisions": {"cls/mul": "fp32", "a:b": "fp16"},
        "layer_device_types": {"cls/mul": "GPU", "a:b": "DLA"},
    }


def test_both_forms_of_nvinfer_say_the_same() -> None:
    assert read_nvinfer(YAML).hints == read_nvinfer(NVINFER).hints


def test_a_core_counts_only_where_it_is_used() -> None:
    core = "[property]\nuse-dla-core=1\n"
    assert read_nvinfer(core).hints == {}
    assert read_nvinfer(f"{core}enable-dla=1\n").hints == {"dla_core": 1}
    assert read_nvinfer("[property]\nenable-dla=1\n").hints == {"dla_core": 0}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[property]\nbatch-size=0", "line 2: batch-size: expected a positive number"),
        ("[property]\nnetwork-mode=7", "line 2: network-mode: expected one of 0, 1, 2, 3"),
        ("[property]\ninfer-dims=3;x", "line 2: infer-dims: expected a whole number"),
        ("[property]\nlayer-device-precision=a:fp32", "line 2: layer-device-precision: expected"),
        ("[property]\nlayer-device-precision=a:fp9:gpu", "line 2: "),
        ("[property]\n\nbatch-size 4", "line 3: expected '[group]' or 'key=value'"),
        ("a=1\n[property]", "line 1: 'a' before any group"),
        ("[application]\na=1", "no group [property]"),
        ("property:\n  batch-size 4", "line 2: expected 'key: value'"),
    ],
)
def test_a_broken_nvinfer_line(text: str, problem: str) -> None:
    with pytest.raises(FormatError) as caught:
        read_nvinfer(text)
    assert problem in str(caught.value)


def test_triton() -> None:
    found = read_triton(TRITON)
    assert found.hints == {
        "max_batch_size": 32,
        "input_shapes": {"x": [3, 224, -1]},
        "shape_profiles": [
            {"x": {"min": [1, 3, 224, 8], "opt": [4, 3, 224, 8], "max": [8, 3, 224, 8]}},
            {"x": {"min": [9, 3, 224, 8], "opt": [9, 3, 224, 8], "max": [32, 3, 224, 8]}},
        ],
        "precisions": ["fp16"],
        "memory_pools": {"workspace": "1073741824B"},
        "calibration_file": "cal.fb",
        "optimization_level": 4,
        "sparsity": "enable",
        "triton.trt_engine_cache_enable": "1",
        "triton.instance_group": {"count": 2, "kind": "KIND_GPU", "gpus": [0, 1]},
    }
    assert found.metadata == {"name": "detector", "platform": "onnxruntime_onnx"}


def test_without_a_largest_batch_the_first_extent_is_the_batch() -> None:
    found = read_triton('input { name: "x" dims: [1, 3, 8] }').hints
    assert found == {"input_shapes": {"x": [3, 8]}}


def test_text_of_messages() -> None:
    text = "a: 1 a: -2.5 b <c: 'x\\n\\x41\\101' \"y\">, d: [0x1F, 3f]; e: inf_x f: [] g {}"
    assert pbtxt.parsed(Path("p"), text) == {
        "a": [1, -2.5],
        "b": [{"c": ["x\nAAy"]}],
        "d": [31, 3.0],
        "e": ["inf_x"],
        "f": [],
        "g": [{}],
    }


def test_an_empty_list_says_nothing() -> None:
    lists = "name: [] max_batch_size: [] input { name: [] dims: [3] } instance_group: []"
    assert read_triton(lists).hints == {"triton.instance_group": []}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb {", "line 2: expected a field or '}', found 'the end of the file'"),
        ("a: 1\n}", "line 2: expected a field, found '}'"),
        ("a 1", "line 1: expected ':' or a message"),
        ("a: ,", "line 1: expected a value"),
        ("a: [1 2]", "line 1: expected ',' or ']'"),
        ('a: "x', "line 1: no text of a message"),
        ("a {" * 40, "no more than 32 levels"),
        ("a: [" * 40, "expected"),
        ("\nmax_batch_size: -1", "line 2: max_batch_size: expected a whole number"),
        ('input {\n name: "x"\n dims: ["a"] }', "line 3: input 'x': dims are no extents"),
        (accelerated("precision_mode", "FP9"), "line 3: expected one of FP32, FP16, INT8"),
        (accelerated("trt_profile_min_shapes", "x:1xa"), "line 3: expected a whole number"),
        (accelerated("trt_dla_core", "x"), "line 3: expected a whole number, found 'x'"),
    ],
)
def test_a_broken_message(text: str, problem: str) -> None:
    with pytest.raises(FormatError) as caught:
        read_triton(text)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (NVINFER, "nvinfer"),
        (YAML, "nvinfer"),
        (TRITON, "triton"),
        ("# Conv\n--fp16\n", "trtexec"),
        ("trtexec --onnx=a:b\n", "trtexec"),
        ("Conv_0:fp16", "trtexec"),
        ('{"Layers": []}', "engine_inspector"),
        ('{"int8_tensor_scales": {}}', "precision_config"),
        ('{"quantization": {"quant_algo": "FP8"}}', "hf_quant_config"),
        ('\ufeff{"schema": 1, "tensorrt": ">=11"}', "build_settings"),
    ],
)
def test_a_file_is_known_by_what_it_holds(text: str, form: str, tmp_path: Path) -> None:
    (tmp_path / "anything").write_text(text, encoding="utf-8")
    assert said(tmp_path / "anything").form == form


@pytest.mark.parametrize(
    ("name", "text", "form"),
    [
        ("build.json", '{"schema": 1, "tensorrt": ">=11"}', "build_settings"),
        ("net.build.json", '{"schema": 1, "tensorrt": ">=11"}', "build_settings"),
        ("net_precision_config.json", '{"int8_tensor_scales": {}}', "precision_config"),
        ("layers.json", '{"Layers": []}', "engine_inspector"),
        ("hf_quant_config.json", '{"quantization": {"quant_algo": "FP8"}}', "hf_quant_config"),
        ("pgie.txt", NVINFER, "nvinfer"),
        ("pgie.yml", YAML, "nvinfer"),
        ("config.pbtxt", TRITON, "triton"),
        ("trtexec.args", "--fp16", "trtexec"),
        ("layer_precisions.txt", "a:int8", "trtexec"),
        ("no_suffix_at_all", "--fp16", "trtexec"),
        ("dynamic_ranges.txt", "a: 1.5", "dynamic_ranges"),
    ],
)
def test_the_longest_suffix_decides(name: str, text: str, form: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert sniff(tmp_path / name).name == form
    origin = w2e_bridge.open(tmp_path / name).origin
    assert origin is not None
    assert origin.format == form


def test_a_cache_is_no_file_of_hints(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("TRT-8600-EntropyCalibration2\nx: 3c010a14\n")
    with pytest.raises(FormatError, match="--calibration-cache"):
        said(tmp_path / "a")
