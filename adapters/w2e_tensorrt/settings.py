"""`build.json` and `trtexec.args`: how an engine is to be built, from the model's hints and its free dimensions.

Options: NVIDIA/TensorRT samples/common/sampleOptions.cpp, release 11.1 (what it dropped is not written).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from w2e_bridge.ir.model import Model

SCHEMA = 1
LARGEST = {"batch": 8, "sequence": 512}
"""Default upper ends of free dimensions; 2 × `OTHER` of those that are called otherwise."""
OTHER = 256
DEFAULT_BATCH, DEFAULT_SEQUENCE = 1, 128

FLAGS: Mapping[str, str] = {
    "memory_pools": "--memPoolSize",
    "optimization_level": "--builderOptimizationLevel",
    "hardware_compatibility": "--hardwareCompatibilityLevel",
    "input_formats": "--inputIOFormats",
    "output_formats": "--outputIOFormats",
    "sparsity": "--sparsity",
    "runtime_platform": "--runtimePlatform",
}
"""Hints with a value to the flag of trtexec that says it."""

SWITCHES: Mapping[str, str] = {
    "version_compatible": "--versionCompatible",
    "exclude_lean_runtime": "--excludeLeanRuntime",
    "refit": "--refit",
    "strip_weights": "--stripWeights",
}
"""Hints that are a switch."""

PROFILES = "shape_profiles"
Shapes = dict[str, dict[str, list[int]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to build.

    Attributes:
        document: of `build.json`.
        arguments: lines of `trtexec.args`.
        effects: what became of each hint.
    """

    document: Mapping[str, object]
    arguments: tuple[str, ...]
    effects: tuple[tuple[str, str], ...]

    def files(self) -> Iterator[tuple[str, bytes]]:
        """Names and contents."""
        text = json.dumps(self.document, indent=1, sort_keys=True, ensure_ascii=False)
        yield "build.json", (text + "\n").encode()
        yield "trtexec.args", "".join(f"{line}\n" for line in self.arguments).encode()


def settings(
    model: Model, graph: ir.Graph, io: Mapping[str, Mapping[str, object]], version: str
) -> Settings:
    """Build settings of a model.

    Args:
        model: its hints.
        graph: as it is written.
        io: quantization of public values in the source.
        version: of TensorRT, as a requirement: ">=11".
    """
    hints = model.hints.values
    profiles = _given(hints.get(PROFILES)) or _default(graph)
    used = {key: hints[key] for key in (*FLAGS, *SWITCHES) if key in hints}
    document: dict[str, object] = {
        "schema": SCHEMA,
        "tensorrt": version,
        "model": "model.onnx",
        "profiles": profiles,
        "io": {name: dict(found) for name, found in sorted(io.items())},
        **{key: _jsonable(value) for key, value in used.items()},
    }
    arguments = ["--onnx=model.onnx"]
    for number, shapes in enumerate(profiles):
        arguments += [f"--profile={number}"] if len(profiles) > 1 else []
        for end, flag in (("min", "minShapes"), ("opt", "optShapes"), ("max", "maxShapes")):
            said = ",".join(f"{n}:{'x'.join(map(str, s[end]))}" for n, s in shapes.items())
            arguments.append(f"--{flag}={said}")
    arguments += [f"{FLAGS[key]}={_argument(value)}" for key, value in used.items() if key in FLAGS]
    arguments += [SWITCHES[key] for key, value in used.items() if key in SWITCHES and value]
    effects = tuple(
        (key, "applied" if key in used or key == PROFILES else "ignored") for key in hints
    )
    return Settings(document=document, arguments=tuple(arguments), effects=effects)


def _given(found: object) -> list[Shapes]:
    """Profiles of the hints, where they are of the right form."""
    rows = (
        found if isinstance(found, list | tuple) else [found] if isinstance(found, Mapping) else []
    )
    return [
        {
            str(n): {end: [int(d) for d in s[end]] for end in ("min", "opt", "max")}
            for n, s in row.items()
        }
        for row in rows
        if isinstance(row, Mapping) and row
    ]


def _default(graph: ir.Graph) -> list[Shapes]:
    """One profile for every input with a free dimension; none where all are fixed."""
    shapes: Shapes = {}
    for value in graph.inputs:
        if value.shape is None or all(isinstance(extent, int) for extent in value.shape):
            continue
        extents = [_ends(extent, axis) for axis, extent in enumerate(value.shape)]
        low, usual, high = (list(column) for column in zip(*extents, strict=True))
        shapes[value.name or ""] = {"min": low, "opt": usual, "max": high}
    return [shapes] if shapes else []


def _ends(extent: object, axis: int) -> tuple[int, int, int]:
    if isinstance(extent, int):
        return extent, extent, extent
    said = str(getattr(extent, "value", extent) or "").lower()
    if "past" in said:
        return 0, DEFAULT_SEQUENCE, LARGEST["sequence"]
    if "total" in said:
        return 1, 2 * DEFAULT_SEQUENCE, 2 * LARGEST["sequence"]
    if "seq" in said or "length" in said:
        return 1, DEFAULT_SEQUENCE, LARGEST["sequence"]
    if axis == 0 or "batch" in said:
        return 1, DEFAULT_BATCH, LARGEST["batch"]
    return 1, OTHER, 2 * OTHER


def _argument(value: object) -> str:
    if isinstance(value, Mapping):
        return ",".join(f"{k}:{v}" for k, v in value.items())
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _jsonable(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(k): _jsonable(v) for k, v in value.items()}
    return [_jsonable(v) for v in value] if isinstance(value, list | tuple) else value
