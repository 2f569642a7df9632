"""What the quantized checkpoints of NVIDIA's Model-Optimizer mean: for each algorithm, what its tensors hold.

`hf_quant_config.json` names an algorithm for the whole model or for each layer; the tensors stand beside the weight of
a linear layer, in a matrix of N output and K input channels. The numbers are what TensorRT-LLM, TensorRT-Edge-LLM and
vLLM expect. Source: NVIDIA/Model-Optimizer modelopt/torch/export/quant_utils.py (`process_layer_quant_config`,
`get_weight_scaling_factor`, `get_weight_scaling_factor_2`, `to_quantized_weight`, `postprocess_state_dict`) and
modelopt/torch/quantization/qtensor/{nvfp4,mxfp8}_tensor.py. A scale that would be 0 is 1 instead.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

INT4_MOST, INT8_MOST, FP8_MOST, FP4_MOST = 7, 127, 448, 6
"""The largest magnitudes of the codes: int4 leaves -8 out, fp8 is E4M3 without infinities, fp4 is E2M1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One tensor of a quantized layer.

    Attributes:
        suffix: of its name, behind the layer's.
        holds: its role.
        dtype: as stored.
        shape: in N, K and the group size G.
        formula: what it is made from: "amax / 448".
    """

    suffix: str
    holds: str
    dtype: str
    shape: str = "1"
    formula: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """One value of `quant_algo`.

    Attributes:
        weights: code and granularity of the weights.
        activations: of the layer's input: "static float8", "float".
        parts: the tensors of a layer.
        group: size of a group along K where the file does not say it; 0 = no groups.
        precision: TensorRT's word for what the product is computed with.
    """

    weights: str
    activations: str
    parts: tuple[Part, ...]
    group: int = 0
    precision: str


def _input(most: str) -> Part:
    return Part(
        suffix="input_scale", holds="scale of the layer's input", dtype="float32",
        formula=f"amax / {most}",
    )  # fmt: skip


def _weight(holds: str, dtype: str, shape: str = "N, K") -> Part:
    return Part(suffix="weight", holds=holds, dtype=dtype, shape=shape)


def _scale(dtype: str, shape: str, formula: str, holds: str = "scale of the weights") -> Part:
    return Part(suffix="weight_scale", holds=holds, dtype=dtype, shape=shape, formula=formula)


def _second(holds: str, formula: str) -> Part:
    return Part(suffix="weight_scale_2", holds=holds, dtype="float32", formula=formula)


SMOOTHING = Part(
    suffix="pre_quant_scale", holds="factor of each input channel before quantization",
    dtype="the model's", shape="K",
)  # fmt: skip

INT4_WEIGHT = _weight(
    "int4 codes, two output channels in a byte, the even one in the low bits", "uint8", "N / 2, K"
)
FP4_WEIGHT = _weight(
    "float4 codes, two input channels in a byte, the even one in the low bits", "uint8", "N, K / 2"
)
INT8_WEIGHT, FP8_WEIGHT = _weight("int8 codes", "int8"), _weight("float8 codes", "float8_e4m3fn")
INT4_SCALE = _scale("float32", "N, K / G", f"amax / {INT4_MOST}")
CHANNEL_INT8 = _scale("float32", "N", f"amax / {INT8_MOST}")
TENSOR_FP8 = _scale("float32", "1", f"amax / {FP8_MOST}")
BLOCK_FP4 = _scale(
    "float8_e4m3fn", "N, K / G", f"amax / ({FP4_MOST} × weight_scale_2)", "scale of a group"
)
BLOCK_MX = _scale(
    "uint8", "N, K / G", "exponent + 127 of the power of two that covers amax", "scale of a group"
)
GLOBAL_FP4 = _second("scale of the groups' scales", f"amax / ({FP4_MOST} × {FP8_MOST})")
LOW_RANK = (
    Part(suffix="svdquant_lora_a", holds="low-rank factor on the input", dtype="the model's"),
    Part(suffix="svdquant_lora_b", holds="low-rank factor on the output", dtype="the model's"),
)
FP4_INPUT = _input(f"({FP4_MOST} × {FP8_MOST})")
NVFP4_PARTS = (FP4_WEIGHT, BLOCK_FP4, GLOBAL_FP4, FP4_INPUT)

ALGORITHMS: Mapping[str, Algorithm] = {
    "FP8": Algorithm(
        weights="float8 (E4M3), one scale", activations="static float8", precision="fp8",
        parts=(FP8_WEIGHT, TENSOR_FP8, _input(str(FP8_MOST))),
    ),
    "FP8_PER_CHANNEL_PER_TOKEN": Algorithm(
        weights="float8 (E4M3), a scale for each output channel", precision="fp8",
        activations="dynamic float8, a scale for each token",
        parts=(FP8_WEIGHT, _scale("float32", "N", f"amax / {FP8_MOST}")),
    ),
    "W4A16_AWQ": Algorithm(
        weights="int4 in groups", activations="float", group=128, precision="int4",
        parts=(INT4_WEIGHT, INT4_SCALE, SMOOTHING),
    ),
    "W4A8_AWQ": Algorithm(
        weights="int4 in groups, rounded again to float8", activations="static float8",
        group=128, precision="fp8",
        parts=(
            INT4_WEIGHT, INT4_SCALE,
            _second("scale of the float8 that decoded weights become", f"amax / {FP8_MOST}"),
            _input(str(FP8_MOST)), SMOOTHING,
        ),
    ),
    "W8A16": Algorithm(
        weights="int8, a scale for each output channel", activations="float", precision="int8",
        parts=(INT8_WEIGHT, CHANNEL_INT8),
    ),
    "W8A8_SQ_PER_CHANNEL": Algorithm(
        weights="int8, a scale for each output channel", activations="static int8",
        precision="int8", parts=(INT8_WEIGHT, CHANNEL_INT8, _input(str(INT8_MOST)), SMOOTHING),
    ),
    "NVFP4": Algorithm(
        weights="float4 (E2M1) in groups with float8 scales", precision="fp4", group=16,
        activations="float4 in groups, scales at run time", parts=NVFP4_PARTS,
    ),
    "W4A16_NVFP4": Algorithm(
        weights="float4 (E2M1) in groups with float8 scales", precision="fp4", group=16,
        activations="float", parts=(FP4_WEIGHT, BLOCK_FP4, GLOBAL_FP4),
    ),
    "NVFP4_AWQ": Algorithm(
        weights="float4 (E2M1) in groups with float8 scales", precision="fp4", group=16,
        activations="float4 in groups, scales at run time", parts=(*NVFP4_PARTS, SMOOTHING),
    ),
    "NVFP4_SVD": Algorithm(
        weights="float4 (E2M1) in groups with float8 scales, and a product of low rank",
        activations="float4 in groups, scales at run time", precision="fp4", group=16,
        parts=(*NVFP4_PARTS, SMOOTHING, *LOW_RANK),
    ),
    "W4A8_NVFP4_FP8": Algorithm(
        weights="float4 (E2M1) in groups with float8 scales", activations="static float8",
        group=16, precision="fp8",
        parts=(
            FP4_WEIGHT, BLOCK_FP4,
            # Decoded to float8 by the kernel, hence without the 6 of the others.
            _second("scale of the groups' scales", f"amax / {FP8_MOST}"), _input(str(FP8_MOST)),
        ),
    ),
    "W4A8_MXFP4_FP8": Algorithm(
        weights="float4 (E2M1) in groups with scales that are powers of two", group=32,
        activations="static float8", precision="fp8",
        parts=(FP4_WEIGHT, BLOCK_MX, _input(str(FP8_MOST))),
    ),
    "MXFP8": Algorithm(
        weights="float8 (E4M3) in groups with scales that are powers of two", group=32,
        activations="float8 in groups, scales at run time", precision="fp8",
        parts=(FP8_WEIGHT, BLOCK_MX),
    ),
}  # fmt: skip

MIXED = "MIXED_PRECISION"
"""The algorithm of a file that says one for each layer."""

KV_PARTS: Mapping[str, tuple[Part, ...]] = {
    algorithm: tuple(
        Part(suffix=suffix, holds=holds, dtype="float32", formula=f"amax / {FP8_MOST}{least}")
        for suffix, holds in (("k_proj.k_scale", "scale of keys"), ("v_proj.v_scale", "of values"))
    )
    for algorithm, least in (("FP8", ", at least 1"), ("NVFP4", ""), ("NVFP4_AFFINE", ""))
}
"""Scales of the key/value cache. The exporter divides by 448 for every type of cache."""

KV_BIASES = tuple(
    Part(suffix=suffix, holds=f"offset of {what}", dtype="float32", shape="channels")
    for suffix, what in (("k_proj.k_bias", "keys"), ("v_proj.v_bias", "values"))
)
"""Further tensors of the affine cache."""


def parts(algorithm: str, kv: str) -> Iterator[Part]:
    """The tensors of a layer, then those of the cache."""
    if algorithm in ALGORITHMS:
        yield from ALGORITHMS[algorithm].parts
    if kv in KV_PARTS:
        yield from KV_PARTS[kv]
    if kv == "NVFP4_AFFINE":
        yield from KV_BIASES
