"""TensorRT: calibration caches, dynamic ranges and calibration tables, each a format of its own."""

from __future__ import annotations

from w2e_bridge.formats.spec import Format, Option

CALIBRATION_CACHE = Format(
    name="calibration_cache",
    title="calibration cache (TensorRT 10 and older)",
    suffixes=(".cache", ".calib"),
    magic=((0, b"TRT-"),),
    lift="w2e_tensorrt.calibration_cache:lift",
    lower="w2e_tensorrt.calibration_cache:lower",
    profiles="w2e_tensorrt.profiles:ranges",
    docs="https://docs.nvidia.com/deeplearning/tensorrt/10.13.3/",
)

DYNAMIC_RANGES = Format(
    name="dynamic_ranges",
    title="dynamic ranges of tensors (TensorRT's sampleINT8API)",
    suffixes=(".dynamic_ranges.txt", "dynamic_ranges.txt", "dynamic_range.txt", ".ranges"),
    lift="w2e_tensorrt.dynamic_ranges:lift",
    lower="w2e_tensorrt.dynamic_ranges:lower",
    profiles="w2e_tensorrt.profiles:ranges",
    docs="https://github.com/NVIDIA/TensorRT/tree/release/8.6/samples/sampleINT8API",
)

CALIBRATION_TABLE = Format(
    name="calibration_table",
    title="calibration table of ONNX Runtime (calibration.flatbuffers)",
    suffixes=(".flatbuffers",),
    lift="w2e_tensorrt.calibration_table:lift",
    lower="w2e_tensorrt.calibration_table:lower",
    profiles="w2e_tensorrt.profiles:ranges",
    docs="https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html",
)

TENSORRT = Format(
    name="tensorrt",
    title="TensorRT (Q/DQ bundle)",
    suffixes=(".onnx",),
    lower="w2e_tensorrt.write:lower",
    prepare="w2e_tensorrt.apply_cache:prepare",
    profiles="w2e_tensorrt.profiles:bundles",
    options=(
        Option(
            name="calibration-cache",
            help="Quantize the activations with the scales of this calibration cache.",
        ),
    ),
    lints=(("tensorrt", "w2e_tensorrt.lint:lint"),),
    docs="https://docs.nvidia.com/deeplearning/tensorrt/",
)
