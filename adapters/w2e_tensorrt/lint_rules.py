"""What TensorRT's parser refuses, reads as something else, or runs slowly: the rules, as data.

Read off TensorRT-RTX 1.7.1 (parser and ahead-of-time build) case by case; `tests/w2e_tensorrt/test_lint.py`
reads every row back from it. Placement: NVIDIA's documentation of explicit quantization.
"""

from __future__ import annotations

from w2e_bridge.formats.lint import Rule, Severity

ERROR, WARNING, NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE

ZERO_POINT = Rule(
    name="zero-point",
    severity=ERROR,
    reason="TensorRT's quantization is symmetric: the parser refuses any zero point but 0.",
    mend="Convert with --to tensorrt, which shifts uint8 around 128 exactly and widens other ranges.",
)
UNSIGNED = Rule(
    name="unsigned-codes",
    severity=ERROR,
    reason="The parser takes uint8 codes with zero point 0 for int8 at the same scale: what lies above "
    "127 steps saturates without a word.",
    mend="Quantize to int8 with a scale 255/127 as large; --to tensorrt does.",
)
INTEGER_BIAS = Rule(
    name="integer-bias",
    severity=ERROR,
    reason="DequantizeLinear of int32 is not imported.",
    mend="Store biases as float32; --to tensorrt does.",
)
BLOCKS = Rule(
    name="block-size",
    severity=ERROR,
    reason="The parser does not look at block_size: a block is the axis' extent over the number of scales. "
    "Where the last block is short it refuses the model, or takes other blocks than were meant without a word.",
    mend="Choose blocks that fill the axis, or pad the weights.",
)
SCALAR = Rule(
    name="scalar-codes",
    severity=ERROR,
    reason="A constant of rank 0 that is dequantized is parsed, but no engine is built of it.",
    mend="Give the codes an axis of extent 1; --to tensorrt does.",
)
SCALE = Rule(
    name="scale-sign",
    severity=ERROR,
    reason="Every scale has to be above 0.",
    mend="Turn the sign of a scale with its codes; give a block of zeros any positive scale.",
)
DYNAMIC_SCALE = Rule(
    name="scale-constant",
    severity=ERROR,
    reason="A scale has to be known when the engine is built.",
    mend="Make the scale an initializer.",
)
CODES = Rule(
    name="code-type",
    severity=ERROR,
    reason="Codes can be int8, int4, float8 e4m3 and float4 e2m1 only.",
    mend="Requantize to one of those.",
)
OPERATOR = Rule(
    name="operator",
    severity=ERROR,
    reason="The parser does not have this operator.",
    mend="Say it with others; QLinear operators and MatMulNBits become Q/DQ with --to tensorrt.",
)
TYPES = Rule(
    name="type-mismatch",
    severity=ERROR,
    reason="Networks are strongly typed: what DequantizeLinear gives has the type of its scale, and has "
    "to be the type that the consumer's other operand has.",
    mend="Store the scales in the consumer's type.",
)
ATTENTION = Rule(
    name="attention-float32",
    severity=ERROR,
    reason="Attention in float32 parses, but no engine is built.",
    mend="Compute it in float16, or write it as MatMul and Softmax.",
)
FLOAT4 = Rule(
    name="float4-hardware",
    severity=NOTE,
    reason="float4 engines are built for compute capability 12 and newer only.",
    mend="Build for such a device.",
)
PROFILE = Rule(
    name="shape-profile",
    severity=NOTE,
    reason="An input of free shape needs an optimization profile to build.",
    mend="Take the profile of build.json, or --minShapes, --optShapes and --maxShapes.",
)
CONV_OUTPUT = Rule(
    name="placement-output",
    severity=WARNING,
    reason="Q/DQ between a convolution and the activation or addition behind it keeps them from being fused.",
    mend="Quantize behind the activation or addition instead.",
)
CONCAT = Rule(
    name="placement-concat",
    severity=WARNING,
    reason="Inputs of Concat with different scales are rescaled one by one.",
    mend="Give all inputs one scale.",
)
RESIDUAL = Rule(
    name="placement-residual",
    severity=WARNING,
    reason="An addition whose other branch is not quantized falls back to floats.",
    mend="Quantize the residual branch too.",
)

RULES = (
    ZERO_POINT, UNSIGNED, INTEGER_BIAS, BLOCKS, SCALAR, SCALE, DYNAMIC_SCALE, CODES, OPERATOR, TYPES, ATTENTION,
    FLOAT4, PROFILE, CONV_OUTPUT, CONCAT, RESIDUAL,
)  # fmt: skip

MISSING = frozenset(
    {
        "AffineGrid", "Bernoulli", "BitCast", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr",
        "BitwiseXor", "CenterCropPad", "Col2Im", "Compress", "ConcatFromSequence", "ConvInteger",
        "CumProd", "DFT", "DeformConv", "Det", "DynamicQuantizeLinear", "ImageDecoder",
        "MatMulInteger", "MaxRoiPool", "MaxUnpool", "MelWeightMatrix", "Multinomial",
        "NegativeLogLikelihoodLoss", "Optional", "OptionalGetElement", "OptionalHasElement",
        "QLinearConv", "QLinearMatMul", "RegexFullMatch", "SequenceAt", "SequenceConstruct",
        "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength", "SequenceMap",
        "SoftmaxCrossEntropyLoss", "SplitToSequence", "StringConcat", "StringNormalizer",
        "StringSplit", "SwiGLU", "TfIdfVectorizer", "Unique",
    }
)  # fmt: skip
"""Standard operators that its parser does not have (`OnnxParser.supports_operator`, 1.7.1)."""

DOMAINS = frozenset({"", "ai.onnx", "trt"})
"""Domains of the operators that it can have."""

EXPORTERS_ONLY = frozenset({"TRT_FP4QDQ"})
"""Operators of the domain trt that an exporter writes for itself (ModelOpt replaces it in the end)."""


def has_operator(domain: str, kind: str) -> bool:
    """Whether the parser has an operator."""
    return domain in DOMAINS and kind not in MISSING | EXPORTERS_ONLY
