"""`build.json` and `trtexec.args`: how an engine is to be built, from the model's hints and its free dimensions.

Options: NVIDIA/TensorRT samples/common/sampleOptions.cpp, release 11.1 (what it dropped is not written).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import onnx_ir as ir

from w2e_bridge.ir.model import Model
from w2e_tensorrt.hints.flags import BY_KEY, PRECISIONS
from w2e_tensorrt.hints.options import Choice, chosen
from w2e_tensorrt.hints.specs import ENDS, Shapes
from w2e_tensorrt.interface_formats import formats
from w2e_tensorrt.lowering.finishing import FOLDER
from w2e_tensorrt.shape_profiles import BATCH, INPUTS, PROFILES, Profiles, profiles_of

SCHEMA = 1
FORMATS = ("input_formats", "output_formats")
ALWAYS = frozenset({"strongly_typed"})
"""Hints that say what release 11 does without being asked."""


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
        yield "build.json", f"{text}\n".encode("utf-8", "backslashreplace")
        lines = "".join(f"{line}\n" for line in self.arguments)
        yield "trtexec.args", lines.encode("utf-8", "backslashreplace")


def settings(
    model: Model,
    graph: ir.Graph,
    io: Mapping[str, Mapping[str, object]],
    version: str,
    *,
    stem: str = FOLDER,
) -> Settings:
    """Build settings of a model.

    Args:
        model: its hints.
        graph: as it is written.
        io: quantization of public values in the source.
        version: of TensorRT, as a requirement: ">=11", ">=10,<11".
        stem: of the model's file.
    """
    hints, release = model.hints.values, release_of(version)
    shapes = profiles_of(hints, graph)
    said = _Said(release=release)
    for key, value in hints.items():
        said.take(key, value, graph, shapes)
    document: dict[str, object] = {
        "schema": SCHEMA,
        "tensorrt": version,
        "model": f"{stem}.onnx",
        "profiles": shapes.profiles,
        "io": {name: dict(found) for name, found in sorted(io.items())},
        **said.document,
    }
    arguments = [f"--onnx={stem}.onnx", *_shape_arguments(shapes.profiles), *said.arguments]
    return Settings(document=document, arguments=tuple(arguments), effects=tuple(said.effects))


def release_of(version: str) -> int:
    """The first release that a requirement allows."""
    digits = version.removeprefix(">=").partition(",")[0].partition(".")[0]
    return int(digits) if digits.isdigit() else 11


@dataclass(slots=True, kw_only=True)
class _Said:
    """What the hints say in the terms of a release."""

    release: int
    document: dict[str, object] = field(default_factory=dict)
    arguments: list[str] = field(default_factory=list)
    effects: list[tuple[str, str]] = field(default_factory=list)

    def take(self, key: str, value: object, graph: ir.Graph, shapes: Profiles) -> None:
        """One hint."""
        if key in (PROFILES, BATCH, INPUTS):
            self.effects += shapes.effects(key)
        elif key in FORMATS:
            values = graph.inputs if key == FORMATS[0] else graph.outputs
            self._put(key, formats(BY_KEY[key], value, list(values), self.release))
        elif key in ALWAYS and self.release > BY_KEY["layer_precisions"].last:
            self.effects.append((key, "applied" if value else "unsupported"))
        elif key == PRECISIONS:
            # Release 11 has the types of the graph alone; what says them to 10 adds its own.
            self.effects.append((key, "unsupported" if self.release > 10 else "ignored"))
        elif key in BY_KEY:
            self._put(key, chosen(BY_KEY[key], value, self.release))
        else:
            self.effects.append((key, "ignored"))

    def _put(self, key: str, choice: Choice) -> None:
        if choice.value is not None:
            self.document[key] = choice.value
            self.arguments += choice.arguments
        self.effects.append((key, choice.effect))
        self.effects += [(f"{key}[{item}]", "unsupported") for item in choice.left]


def _shape_arguments(profiles: list[Shapes]) -> Iterator[str]:
    for number, shapes in enumerate(profiles):
        if len(profiles) > 1:
            yield f"--profile={number}"
        for end in ENDS:
            said = ",".join(f"{name}:{_shape(ends[end])}" for name, ends in shapes.items())
            yield f"--{end}Shapes={said}"


def _shape(extents: list[int]) -> str:
    return "x".join(map(str, extents)) or "scalar"
