"""`build.json`: the build settings that a conversion to TensorRT writes, read back as the hints that they came from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from w2e_bridge.errors import BridgeError, FormatError, Where
from w2e_bridge.ir.model import Remark
from w2e_tensorrt.hints import specs, trtexec
from w2e_tensorrt.hints.specs import SpecError
from w2e_tensorrt.hints.text import Document, Said, text_of

FORM = "build_settings"
SCHEMA = 1
FACTS = frozenset(
    {"schema", "tensorrt", "model", "io", "quantization", "dynamic_ranges", "profiles"}
)
"""Fields that say what the bundle is, and not how it is to be built."""

LAYERS = "layer_precisions"


def is_one(values: Mapping[str, object]) -> bool:
    """Whether a JSON object is of this kind."""
    return "schema" in values and "tensorrt" in values


def read(document: Document) -> Said:
    """The hints of build settings.

    Raises:
        FormatError: another schema, or shapes that are none.
    """
    if document.values.get("schema") != SCHEMA:
        raise document.error("schema", f"expected {SCHEMA}")
    hints: dict[str, object] = {}
    profiles = _profiles(document)
    if profiles:
        hints["shape_profiles"] = profiles
    remarks: list[Remark] = []
    for key, value in document.values.items():
        if key == "calibration":
            hints["calibration_file"] = value
        elif key == LAYERS and isinstance(value, str):
            _layers(document.path, value, hints, remarks)
        elif key == "layer_output_types" and isinstance(value, str):
            hints[key] = _typed(document, key, value)
        elif key not in FACTS:
            hints[key] = value
    metadata = {"tensorrt": document.text("tensorrt")}
    return Said(form=FORM, hints=hints, metadata=metadata, remarks=tuple(remarks))


def _typed(document: Document, key: str, value: str) -> dict[str, str]:
    try:
        return specs.typed(value)
    except SpecError as error:
        raise document.error(key, str(error)) from error


def _profiles(document: Document) -> list[specs.Shapes]:
    found = [
        {name: _ends(row.mapping(name)) for name in row.values}
        for row in document.objects("profiles")
    ]
    try:
        return specs.checked(found)
    except SpecError as error:
        raise document.error("profiles", str(error)) from error


def _ends(row: Document) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for end in specs.ENDS:
        extents = row.rows(end)
        if end not in row.values or not all(_extent(n) for n in extents):
            raise row.error(end, "expected a list of extents")
        found[end] = [n for n in extents if isinstance(n, int)]
    return found


def _extent(value: object) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return whole and 0 <= int(str(value)) <= specs.LARGEST_EXTENT


def _layers(path: Path, said: str, hints: dict[str, object], remarks: list[Remark]) -> None:
    """Layer precisions lie in a file beside: the value of the option can be longer than a command may be."""
    if "/" in said or "\\" in said or said in ("", ".", ".."):
        where = Where(path=path, tensor=LAYERS)
        raise FormatError(where, f"'{said[:60]}' is no name of a file beside")
    place = path.with_name(said)
    try:
        hints.update(trtexec.read(place, text_of(place)).hints)
    except BridgeError as error:
        remarks.append(Remark(name=LAYERS, reason=f"named, but not to be had: {error}"))
