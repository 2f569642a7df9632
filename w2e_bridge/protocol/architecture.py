"""Hyper-parameters as JSON, and back.

Numbers as in `values`: an integer beyond 2^53 is `{"int": "digits"}`, a float that is not finite is a word.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass

import msgspec

from w2e_bridge.ir.architecture import Architecture, Rope
from w2e_bridge.protocol.manifest import Json
from w2e_bridge.protocol.values import metadata_json, metadata_of, number_json, number_of


def architecture_json(architecture: Architecture) -> Json:
    """Hyper-parameters as JSON; what is None is left out."""
    document = _record(architecture)
    document["extra"] = metadata_json(architecture.extra)
    return document


def architecture_of(document: Mapping[str, object]) -> Architecture:
    """Hyper-parameters out of JSON.

    Raises:
        ValueError: a field is missing, unknown or of another type.
    """
    known = _numbers(document, Architecture)
    rope, extra = known.get("rope"), known.get("extra")
    if isinstance(rope, dict):
        known["rope"] = _numbers(rope, Rope)
    if isinstance(extra, dict):
        known["extra"] = metadata_of(extra)
    try:
        return msgspec.convert(known, Architecture)
    except msgspec.ValidationError as error:
        raise ValueError(f"architecture: {error}") from error


def _record(value: object) -> Json:
    assert is_dataclass(value)
    found = {field.name: getattr(value, field.name) for field in fields(value)}
    return {name: _plain(item) for name, item in found.items() if item is not None}


def _plain(value: object) -> object:
    if is_dataclass(value):
        return _record(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return number_json(value)


def _numbers(document: Mapping[str, object], kind: type) -> Json:
    """The fields of a record with numbers for their words; `ValueError` for one that is not known."""
    types = {field.name: str(field.type) for field in fields(kind)}
    unknown = document.keys() - types.keys()
    if unknown:
        raise ValueError(f"architecture: unknown field {min(unknown)!r}")
    return {name: _number(value, types[name]) for name, value in document.items()}


def _number(value: object, kind: str) -> object:
    if kind in ("float", "float | None", "int", "int | None"):
        return number_of(value)
    if kind == "tuple[int, ...]" and isinstance(value, list):
        return [number_of(item) for item in value]
    return value
