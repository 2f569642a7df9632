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

_HINTS = "w2e_tensorrt.hints.recognise:lift"
"""One reader, which goes by what a file holds: names are often others than the writing tool's."""

_DOCS = "https://docs.nvidia.com/deeplearning/tensorrt/"

TRTEXEC = Format(
    name="trtexec",
    title="arguments of trtexec (TensorRT)",
    suffixes=(".args", "_layer_arg.txt", "layer_precisions.txt"),
    magic=((0, b"--"), (0, b"trtexec ")),
    lift=_HINTS,
    docs=f"{_DOCS}latest/performance/best-practices.html",
)

BUILD_SETTINGS = Format(
    name="build_settings",
    title="build settings of a TensorRT bundle",
    suffixes=(".build.json", "build.json"),
    lift=_HINTS,
)

PRECISION_CONFIG = Format(
    name="precision_config",
    title="scales and precisions of qdq-translator",
    suffixes=(".precision_config.json", "precision_config.json"),
    lift=_HINTS,
    docs="https://github.com/NVIDIA/Deep-Learning-Accelerator-SW/tree/main/tools/qdq-translator",
)

ENGINE_INSPECTOR = Format(
    name="engine_inspector",
    title="layers of an engine (TensorRT's inspector, any JSON of hints)",
    suffixes=(".json",),
    lift=_HINTS,
    inspect="w2e_tensorrt.hints.recognise:inspect",
    docs=_DOCS,
)

HF_QUANT_CONFIG = Format(
    name="hf_quant_config",
    title="quantization of a Model-Optimizer checkpoint",
    suffixes=(".hf_quant_config.json", "hf_quant_config.json"),
    lift=_HINTS,
    inspect="w2e_tensorrt.hints.recognise:inspect",
    docs="https://github.com/NVIDIA/Model-Optimizer",
)

NVINFER = Format(
    name="nvinfer",
    title="configuration of DeepStream's nvinfer",
    suffixes=(".txt", ".yml", ".yaml"),
    magic=((0, b"[property]"),),
    lift=_HINTS,
    docs="https://docs.nvidia.com/metropolis/deepstream/dev-guide/text/DS_plugin_gst-nvinfer.html",
)

TRITON = Format(
    name="triton",
    title="model configuration of Triton Inference Server",
    suffixes=(".pbtxt",),
    lift=_HINTS,
    docs="https://github.com/triton-inference-server/server",
)

ENGINE = Format(
    name="tensorrt_engine",
    title="engine of TensorRT (its header)",
    suffixes=(".engine", ".plan", ".trt"),
    magic=((0, b"ftrt"), (0, b"vtrt")),
    lift="w2e_tensorrt.engine:lift",
    inspect="w2e_tensorrt.engine:inspect",
    opaque=True,
    docs=_DOCS,
)

TENSORRT = Format(
    name="tensorrt",
    title="TensorRT (Q/DQ bundle)",
    suffixes=(".onnx",),
    lower="w2e_tensorrt.write:lower",
    prepare="w2e_tensorrt.prepare:prepare",
    profiles="w2e_tensorrt.profiles:bundles",
    options=(
        Option(
            name="calibration-cache",
            help="Quantize the activations with the scales of this calibration cache.",
        ),
        Option(
            name="weights",
            help="kind of the weights' codes: the source's own in the smallest form, or one kind for the "
            "matrices, with new codes where --fidelity permits them.",
            choices=("as-stored", "int8", "int4", "float8", "mxfp8", "nvfp4"),
            default="as-stored",
        ),
        Option(
            name="hints",
            help="Build as this file says: build.json, trtexec arguments, nvinfer or Triton configuration …",
        ),
        Option(
            name="states",
            help="of a model that keeps states between runs: those of layers over whole sequences begin "
            "anew in each run, or all are inputs and outputs.",
            choices=("anew", "explicit"),
            default="anew",
        ),
    ),
    check="w2e_tensorrt.lint:check",
    lints=(("tensorrt", "w2e_tensorrt.lint:lint"),),
    docs="https://docs.nvidia.com/deeplearning/tensorrt/",
)
