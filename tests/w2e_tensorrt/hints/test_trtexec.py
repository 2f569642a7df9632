"""Arguments of trtexec: one option a line, or a command of a shell; what each says, and what trtexec would refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from w2e_bridge.errors import FormatError
from w2e_tensorrt.hints import specs, trtexec
from w2e_tensorrt.hints.flags import BY_NAME, FLAGS
from w2e_tensorrt.hints.text import Said

LINES = """\
--onnx=model.onnx
--minShapes=x:1x3x8x8,ids:1x1
--optShapes=x:4x3x8x8,ids:4x64
--maxShapes=x:8x3x8x8,ids:8x128
--layerPrecisions=*:fp16,'a:b':int8,(Unnamed Layer* 46) [Constant]:fp32,*:bf16
--layerOutputTypes=split:fp32+fp16
--precisionConstraints=obey
--memPoolSize=workspace:1G,dlaSRAM:0.5
--builderOptimizationLevel=5
--hardwareCompatibilityLevel=ampere+
--inputIOFormats=fp32:chw,int32:chw
--vc
--tacticSources=-CUDNN,+JIT_CONVOLUTIONS
--staticPlugins=a.so
--plugins=b.so
--int8
--fp16
--useSpinWait
--iterations=10
"""

HINTS = {
    "shape_profiles": [
        {
            "x": {"min": [1, 3, 8, 8], "opt": [4, 3, 8, 8], "max": [8, 3, 8, 8]},
            "ids": {"min": [1, 1], "opt": [4, 64], "max": [8, 128]},
        }
    ],
    "--onnx": "model.onnx",
    "layer_precisions": {"a:b": "int8", "(Unnamed Layer* 46) [Constant]": "fp32", "*": "bf16"},
    "layer_output_types": {"split": "fp32+fp16"},
    "precision_constraints": "obey",
    "memory_pools": {"workspace": "1G", "dlaSRAM": "0.5"},
    "optimization_level": 5,
    "hardware_compatibility": "ampere+",
    "input_formats": ["fp32:chw", "int32:chw"],
    "version_compatible": True,
    "tactic_sources": ["-CUDNN", "+JIT_CONVOLUTIONS"],
    "static_plugins": ["a.so", "b.so"],
    "precisions": ["int8", "fp16"],
    "--useSpinWait": True,
    "--iterations": "10",
}

COMMAND = """\
#!/bin/bash
# builds it
CUDA_VISIBLE_DEVICES=0 /usr/src/tensorrt/bin/trtexec --onnx=model.onnx \\
  "--layerPrecisions='a b':fp16" --optShapes=x:1x3 \\
  --sparsity=enable --refit 2>&1 | tee log.txt
"""


def read(text: str) -> Said:
    return trtexec.read(Path("some.args"), text)


def test_one_option_a_line() -> None:
    assert read(LINES).hints == HINTS


def test_the_last_of_two_precisions_counts_and_stands_last() -> None:
    found = read("--layerPrecisions=*:fp16,a:int8,*:bf16").hints["layer_precisions"]
    assert isinstance(found, dict)
    assert list(found.items()) == [("a", "int8"), ("*", "bf16")]


def test_a_command_of_a_shell() -> None:
    assert read(COMMAND).hints == {
        "shape_profiles": [{"x": {"min": [1, 3], "opt": [1, 3], "max": [1, 3]}}],
        "--onnx": "model.onnx",
        "layer_precisions": {"a b": "fp16"},
        "sparsity": "enable",
        "refit": True,
    }


def test_profiles_by_number_in_any_order() -> None:
    text = "--profile=1 --minShapes=x:2 --maxShapes=x:9 --profile=0 --optShapes=x:1"
    assert read(text).hints["shape_profiles"] == [
        {"x": {"min": [1], "opt": [1], "max": [1]}},
        {"x": {"min": [2], "opt": [9], "max": [9]}},
    ]


def test_shapes_of_a_run_are_a_profile_where_nothing_else_is() -> None:
    shapes = read("--shapes=x:4x3,y:scalar --optShapes=x:2x3").hints["shape_profiles"]
    assert shapes == [
        {
            "x": {"min": [2, 3], "opt": [2, 3], "max": [2, 3]},
            "y": {"min": [], "opt": [], "max": []},
        }
    ]


def test_the_workspace_of_release_8() -> None:
    assert read("--workspace=4096").hints == {"memory_pools": {"workspace": "4096M"}}
    both = read("--workspace=1 --memPoolSize=workspace:2G,dlaSRAM:1").hints["memory_pools"]
    assert both == {"workspace": "2G", "dlaSRAM": "1"}


def test_the_value_of_layer_precisions_alone() -> None:
    text = "Conv_0:fp16,/a/b Relu:fp16,\n"
    assert read(text).hints == {"layer_precisions": {"Conv_0": "fp16", "/a/b Relu": "fp16"}}


def test_passwords_are_left_out() -> None:
    found = read("--safe --remoteAutoTuningConfig=ssh://me:secret@host")
    assert "secret" not in str(found)
    assert [row.name for row in found.remarks] == ["--remoteAutoTuningConfig"]


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("--fp16\n--optShapes=x:1xa", 2, "expected a whole number, found 'a'"),
        ("--optShapes=x:1x-3", 1, "no shape"),
        ("--optShapes=x", 1, "expected 'name:value'"),
        ("\n--minShapes=x:4\n--maxShapes=x:1\n", 2, "expected min <= opt <= max"),
        ("--minShapes=x:4 --maxShapes=x:1x1", 1, "different ranks"),
        ("--minShapes=x:1\n--minShapes=y:1", 2, "a second one without --profile"),
        ("--profile=-1", 1, "no number of a profile"),
        ("--profile=99999999999999999999999", 1, "expected a whole number"),
        ("--layerPrecisions=a:fp17", 1, "no type 'fp17'"),
        ("--layerPrecisions=a:fp16\n--layerPrecisions=b:fp16", 2, "given twice"),
        ("--layerPrecisions=a'b:fp16", 1, "two single quotes or none"),
        ("--fp16 --fp16", 1, "given twice"),
        ("--sparsity", 1, "expected text"),
        ("--builderOptimizationLevel=high", 1, "expected a whole number"),
        ("--onnx=a.onnx\n\n--sparsity enable --refit", 3, "expected an option, found 'enable'"),
        ("trtexec --onnx='a.onnx", 1, "not readable as a command"),
        ("trtexec --refit\ntrtexec --refit", 2, "a second command"),
        ("just some words", 1, "no argument of trtexec"),
    ],
)
def test_what_trtexec_would_refuse(text: str, line: int, problem: str) -> None:
    with pytest.raises(FormatError) as caught:
        read(text)
    assert f"line {line}: " in str(caught.value)
    assert problem in str(caught.value)


def test_no_option_is_listed_twice() -> None:
    assert len({flag.key for flag in FLAGS}) == len(FLAGS)
    assert len(BY_NAME) == sum(1 + len(flag.aliases) for flag in FLAGS)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [("x", ["x"]), ("in*", ["in.a", "in.b"]), ("*b", ["in.b"]), ("*", ["x", "in.a", "in.b"])],
)
def test_one_wildcard(pattern: str, found: list[str]) -> None:
    assert list(specs.matching(pattern, ["x", "in.a", "in.b"])) == found
