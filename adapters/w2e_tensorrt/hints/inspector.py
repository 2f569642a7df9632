"""What TensorRT's engine inspector prints (`trtexec --exportLayerInfo`): precisions of layers. There are no scales in it.

Releases up to 10 have `Layers` and `Bindings`, with a field `Format/Datatype` ("Thirty-two wide channel vectorized row
major Int8 format"); 11 has `I/O Tensors`, and splits the field into `Format` and `Datatype`. Forms: fixtures of
NVIDIA/TensorRT release/10.16 tools/experimental/trt-engine-explorer, and the migration page of IEngineInspector.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from w2e_bridge.ir.model import MetadataValue, Remark
from w2e_tensorrt.hints import specs
from w2e_tensorrt.hints.flags import TYPES as KINDS
from w2e_tensorrt.hints.specs import SpecError
from w2e_tensorrt.hints.text import Document, Said

FORM = "engine_inspector"
LAYERS, BINDINGS, TENSORS = "Layers", "Bindings", "I/O Tensors"

TYPES: Mapping[str, str] = {
    "fp32": "fp32", "float": "fp32", "fp16": "fp16", "half": "fp16", "bf16": "bf16",
    "bfloat16": "bf16", "int8": "int8", "fp8": "fp8", "int4": "int4", "fp4": "fp4",
    "int32": "int32", "int64": "int64", "bool": "bool", "uint8": "uint8",
}  # fmt: skip
"""Words for types in all releases to trtexec's own."""

IDLE = frozenset({"Reformat", "NoOp", "Constant", "Shuffle"})
"""Layers that move numbers, or are made by the builder between others."""

WEIGHTS = (".weight", ".bias")
BUILT = ("QuantizeLinear", "ForeignNode")
"""Parts of an engine's names that are no layers of a float network."""

METADATA_ITEM = re.compile(r"\[ONNX Layer: ([^\]\x1e]+)\]")
FUSED = "PWN("
"""Begins the name of layers that became one loop over numbers; its parts stand between commas."""

BETWEEN = re.compile(r" \+ |, |[()]")
DEEPEST = 32
NO_SCALES = Remark(
    name="scales", reason="an inspector prints none: only precisions of layers can be had from it"
)


def is_one(values: Mapping[str, object]) -> bool:
    """Whether a JSON object is of this kind."""
    return isinstance(values.get(LAYERS), list)


def read(document: Document) -> Said:
    """Precisions of layers and, of release 11, shape profiles.

    Raises:
        FormatError: not of this form.
    """
    rows = document.rows(LAYERS)
    remarks = [NO_SCALES]
    precisions: dict[str, str] = {}
    if rows and all(isinstance(row, str) for row in rows):
        reason = "only names: build with --profilingVerbosity=detailed to have precisions"
        remarks.append(Remark(name=LAYERS, reason=reason))
    else:
        for layer in document.objects(LAYERS):
            precisions |= dict(_precisions(layer))
    profiles = _profiles(document)
    hints: dict[str, object] = {"layer_precisions": precisions} if precisions else {}
    if profiles:
        hints["shape_profiles"] = profiles
    release = "11 or newer" if TENSORS in document.values else "10 or older"
    metadata: dict[str, MetadataValue] = {"tensorrt": release, "layers": len(rows)}
    return Said(form=FORM, hints=hints, metadata=metadata, remarks=tuple(remarks))


def _precisions(layer: Document) -> Iterator[tuple[str, str]]:
    """The network's layers of which the engine made this one, and what it computes with."""
    kind = _computes_with(layer)
    if kind not in KINDS or layer.text("LayerType", "") in IDLE:
        return
    for name in _origins(layer):
        yield name, kind


def _computes_with(layer: Document) -> str | None:
    """The type of the weights, else of the first operand, in trtexec's word."""
    weights = layer.values.get("Weights")
    if isinstance(weights, dict) and weights.get("Count"):
        found = _word(str(weights.get("Type", "")))
        if found is not None:
            return found
    inputs = layer.objects("Inputs")
    return _type_of(inputs[0]) if inputs else None


def _type_of(value: Document) -> str | None:
    for key in ("Datatype", "DataType", "Format/Datatype"):
        if isinstance(value.values.get(key), str):
            return _word(value.text(key))
    return None


def _word(text: str) -> str | None:
    """The type that a text speaks of: the last of its words that is one."""
    words = re.split(r"[^a-z0-9]+", text.lower())
    return next((TYPES[word] for word in reversed(words) if word in TYPES), None)


def _origins(layer: Document) -> Iterator[str]:
    """Names of the network's layers: the metadata knows them, else the engine's name is made of them."""
    metadata = layer.values.get("Metadata")
    known = METADATA_ITEM.findall(metadata) if isinstance(metadata, str) else []
    if known:
        yield from known
        return
    for name in _members(layer.text("Name")):
        if name and not name.endswith(WEIGHTS) and not any(word in name for word in BUILT):
            yield name


def _members(name: str, depth: int = 0) -> Iterator[str]:
    """The layers that a fused layer's name speaks of: "a + PWN(PWN(b), c)"."""
    level, start = 0, 0
    for mark in BETWEEN.finditer(f"{name}, "):
        level += (mark[0] == "(") - (mark[0] == ")")
        if level == 0 and mark[0] not in "()":
            part = name[start : mark.start()].strip()
            start = mark.end()
            if part.startswith(FUSED) and part.endswith(")") and depth < DEEPEST:
                yield from _members(part[len(FUSED) : -1], depth + 1)
            elif part:
                yield part


def _profiles(document: Document) -> list[specs.Shapes]:
    """Shape profiles of the inputs, which only release 11 prints."""
    profiles: list[specs.Shapes] = []
    for value in document.objects(TENSORS):
        if value.text("IOMode", "").upper().endswith("INPUT"):
            for number, row in enumerate(value.objects("ProfileInfo")):
                ends = _shapes(row)
                if ends is not None:
                    profiles += [{}] * (number + 1 - len(profiles))
                    profiles[number] = {**profiles[number], value.text("Name"): ends}
    try:
        return specs.checked(profiles)
    except SpecError as error:
        raise document.error(TENSORS, str(error)) from error


def _shapes(row: Document) -> dict[str, list[int]] | None:
    found: dict[str, list[int]] = {}
    for end, key in (("min", "MinShape"), ("opt", "OptShape"), ("max", "MaxShape")):
        extents = row.rows(key)
        found[end] = [n for n in extents if isinstance(n, int) and 0 <= n <= specs.LARGEST_EXTENT]
        if key not in row.values or len(found[end]) < len(extents):
            return None
    return found
