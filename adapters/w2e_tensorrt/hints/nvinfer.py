"""Configuration of DeepStream's `nvinfer`: an INI file whose group `[property]` says how the engine is built.

The same as YAML, which the element reads too, has two levels and nothing else of that language.

Keys: the element's documentation (docs.nvidia.com, DS_plugin_gst-nvinfer) and nvdsgstutils' property parser; the
lists are split at ";", as GLib's key files have it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from w2e_bridge.errors import FormatError, Where
from w2e_tensorrt.hints import specs
from w2e_tensorrt.hints.flags import TYPES
from w2e_tensorrt.hints.specs import SpecError
from w2e_tensorrt.hints.text import Said
from w2e_tensorrt.ranges import Line

FORM = "nvinfer"
GROUP = "property"

MODES: Mapping[str, list[str]] = {"0": [], "1": ["int8"], "2": ["fp16"], "3": ["best"]}
"""`network-mode`: what the builder may compute with beside float32."""

DEVICES = ("GPU", "DLA")
_GROUP = re.compile(r"\[[A-Za-z][^][{}\":,]*\]")
Entry = tuple[int, str]
Hints = dict[str, object]


def is_one(text: str) -> bool:
    """Whether a text is of this kind."""
    first = next((line for line in map(str.strip, text.splitlines()) if line[:1] not in "#;"), "")
    return bool(_GROUP.fullmatch(first)) or _yaml(text)


def _yaml(text: str) -> bool:
    return any(line.rstrip() == f"{GROUP}:" for line in text.splitlines())


def read(path: Path, text: str) -> Said:
    """The hints of a configuration.

    Raises:
        FormatError: a line that is neither a group nor `key=value`, or a value out of its range.
    """
    groups = _levels(path, text) if _yaml(text) else _groups(path, text)
    if GROUP not in groups:
        raise FormatError(Where(path=path), f"no nvinfer configuration: no group [{GROUP}]")
    hints: Hints = {}
    for key, (number, value) in groups[GROUP].items():
        known = _KEYS.get(key)
        if known is None:
            hints[f"nvinfer.{key}"] = value
            continue
        try:
            known(hints, value)
        except SpecError as error:
            raise Line(path=path, number=number).error(f"{key}: {error}") from error
    if hints.pop("dla", False):
        hints.setdefault("dla_core", 0)
    else:
        hints.pop("dla_core", None)
    return Said(form=FORM, hints=hints)


def _groups(path: Path, text: str) -> dict[str, dict[str, Entry]]:
    """Groups, keys and values with their lines; of a repeated key the last counts, as for GLib."""
    groups: dict[str, dict[str, Entry]] = {}
    current: dict[str, Entry] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        said = line.strip()
        if not said or said.startswith(("#", ";")):
            continue
        if said.startswith("[") and "]" in said:
            current = groups.setdefault(said[1 : said.index("]")].strip(), {})
            continue
        key, equals, value = said.partition("=")
        if not equals or not key.strip():
            raise Line(path=path, number=number).error(
                f"expected '[group]' or 'key=value', found '{said[:60]}'"
            )
        if current is None:
            raise Line(path=path, number=number).error(f"'{key.strip()[:60]}' before any group")
        current[key.strip()] = number, _without_comment(value)
    return groups


def _levels(path: Path, text: str) -> dict[str, dict[str, Entry]]:
    """Groups, keys and values of the YAML form."""
    groups: dict[str, dict[str, Entry]] = {}
    current: dict[str, Entry] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        said = line.strip()
        if not said or said.startswith("#") or said in ("---", "..."):
            continue
        key, colon, value = said.partition(":")
        if not colon or (line[:1] in " \t" and current is None):
            raise Line(path=path, number=number).error(
                f"expected 'key: value', found '{said[:60]}'"
            )
        if line[:1] not in " \t":
            current = groups.setdefault(key.strip(), {})
        elif current is not None:
            current[key.strip()] = number, _without_comment(value).strip("\"'")
    return groups


def _without_comment(value: str) -> str:
    """A value; real files have comments behind some, which GLib's number parser overlooks."""
    for mark in (" #", "\t#"):
        value = value.partition(mark)[0]
    return value.strip()


def _mode(hints: Hints, value: str) -> None:
    hints.update(specs.precisions(MODES, value))


def _calibration(hints: Hints, value: str) -> None:
    hints["calibration_file"] = value


def _batch(hints: Hints, value: str) -> None:
    hints["max_batch_size"] = _positive(value)


def _workspace(hints: Hints, value: str) -> None:
    hints["memory_pools"] = {"workspace": f"{_positive(value)}M"}


def _dims(hints: Hints, value: str) -> None:
    hints["input_shapes"] = {"*": [_positive(part) for part in _list(value)]}


def _dla(hints: Hints, value: str) -> None:
    hints["dla"] = specs.whole(value) != 0


def _core(hints: Hints, value: str) -> None:
    hints["dla_core"] = specs.whole(value)


def _layers(hints: Hints, value: str) -> None:
    """`name:precision:device;…`."""
    kinds: dict[str, str] = {}
    devices: dict[str, str] = {}
    for item in _list(value):
        parts = item.rsplit(":", 2)
        if len(parts) < 3 or not parts[0]:
            raise SpecError(f"expected 'name:precision:device', found '{item[:60]}'")
        name, kind, device = parts[0], parts[1].lower(), parts[2].upper()
        if kind not in TYPES or device not in DEVICES:
            raise SpecError(f"no precision or device: '{parts[1][:20]}:{parts[2][:20]}'")
        kinds[name], devices[name] = kind, device
    if kinds:
        hints["layer_precisions"] = kinds
    if "DLA" in devices.values():
        hints["layer_device_types"] = devices


def _list(value: str) -> list[str]:
    return [part.strip() for part in value.split(";") if part.strip()]


def _positive(value: str) -> int:
    found = specs.whole(value)
    if not 0 < found <= specs.LARGEST_EXTENT:
        raise SpecError(f"expected a positive number, found {found}")
    return found


_KEYS: Mapping[str, Callable[[Hints, str], None]] = {
    "network-mode": _mode,
    "int8-calib-file": _calibration,
    "batch-size": _batch,
    "workspace-size": _workspace,
    "infer-dims": _dims,
    "enable-dla": _dla,
    "use-dla-core": _core,
    "layer-device-precision": _layers,
}
