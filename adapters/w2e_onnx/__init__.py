"""ONNX models: `.onnx` with external data beside it, and the folders of language models."""

from __future__ import annotations

from w2e_bridge.formats.spec import Format, Option

FORMAT = Format(
    name="onnx",
    title="ONNX (ONNX Runtime)",
    suffixes=(".onnx",),
    lift="w2e_onnx.read:lift",
    lower="w2e_onnx.write:lower",
    profiles="w2e_onnx.profiles:profiles",
    accepts="w2e_onnx.folder:accepts",
    options=(
        Option(
            name="activations",
            help="how matrix products compute: activations rounded to 8 bits (fast) or float32.",
            choices=("int8", "float"),
            default="int8",
        ),
        Option(
            name="match",
            help="of a TFLite model: whose integers the output equals, LiteRT's default kernels', its "
            "reference kernels', or nobody's (plain Q/DQ).",
            choices=("litert", "litert-reference", "none"),
            default="litert",
        ),
        Option(
            name="processor",
            help="of a TFLite model: where its integers must be exact, on any processor or on those with "
            "VNNI, whose products of int8 weights are faster and elsewhere saturate.",
            choices=("any", "vnni"),
            default="any",
        ),
    ),
    lints=(("ort", "w2e_onnx.lint:ort"), ("portable", "w2e_onnx.lint:portable")),
    docs="https://onnx.ai/onnx/repo-docs/IR.html",
)
