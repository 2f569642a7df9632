"""Calibration caches of TensorRT up to 10: a line `name: bits of the float32 scale` for each activation.

    TRT-101303-EntropyCalibration2
    images: 3c010a14

The hexadecimal digits are the scale's bits as one number, not padded (`printf("%x")`): scale 0 is "0",
infinity "7f800000". Names may hold colons, spaces and brackets; the last ": " ends one. Grammar read off
NVIDIA/TensorRT samples/common/sampleEngines.cpp (readScalesFromCalibrationCache) and real caches.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from w2e_bridge.errors import FormatError, Where
from w2e_bridge.formats.output import Output
from w2e_bridge.formats.spec import OptionValue, Request
from w2e_bridge.ir.model import Model
from w2e_bridge.negotiation.decision import Decisions
from w2e_tensorrt.ranges import Line, model_of, output, ranges_of, text_of

HEADER_KEY = "tensorrt.calibration.header"
HEADER = "TRT-101303-EntropyCalibration2"
"""What is written where the source has no header: the last release that reads caches."""

_HEADER = re.compile(r"TRT-\d+-\w+")
_HEX = re.compile(r"[0-9a-fA-F]{1,8}")


def read(path: Path) -> tuple[str, dict[str, np.float32]]:
    """The header and the scales of a cache, in its order.

    Raises:
        FormatError: a line that is not of this grammar; says its number.
    """
    lines = text_of(path).splitlines()
    header = lines[0].strip() if lines else ""
    if not _HEADER.fullmatch(header):
        raise FormatError(
            Where(path=path), f"line 1: expected TRT-<version>-<algorithm>, found '{header[:40]}'"
        )
    scales: dict[str, np.float32] = {}
    for number, line in enumerate(lines[1:], 2):
        if line.strip():
            name, scale = _entry(line, Line(path=path, number=number))
            if name in scales and scales[name].tobytes() != scale.tobytes():
                raise Line(path=path, number=number).error(f"a second scale for '{name}'")
            scales[name] = scale
    return header, scales


def _entry(line: str, place: Line) -> tuple[str, np.float32]:
    name, colon, digits = line.rpartition(":")
    if not colon or not name or not _HEX.fullmatch(digits.strip()):
        hint = "probably a cut file" if not colon else ""
        raise place.error(f"expected 'name: hexadecimal scale', found '{line[:60]}'", hint)
    bits = struct.pack(">I", int(digits, 16))
    return name, np.frombuffer(bits, ">f4").astype(np.float32)[0]


def written(header: str, scales: Mapping[str, np.float32]) -> bytes:
    """A cache's bytes."""
    entries = [f"{name}: {int(np.float32(s).view(np.uint32)):x}" for name, s in scales.items()]
    return "\n".join([header, *entries, ""]).encode()


def lift(path: Path, options: Mapping[str, OptionValue]) -> Model:
    """A cache as a model that holds activation ranges only.

    Args:
        path: the file.
        options: none.
    """
    del options
    header, scales = read(path)
    return model_of(path, "calibration_cache", scales, {HEADER_KEY: header})


def lower(model: Model, decisions: Decisions, request: Request) -> Output:
    """Plan the cache of a model's activations."""
    del decisions, request
    found = ranges_of(model)
    header = str(model.metadata.get(HEADER_KEY, HEADER))
    return output("{stem}.cache", written(header, found.scales), found)
