"""Values that plain JSON can't say without loss: metadata, arrays.

Metadata: text and bools are JSON's own; an integer is JSON's own up to 2^53, beyond that
`{"int": "digits"}`; a float is `{"float": number}`, or `{"float": "inf" | "-inf" | "nan" | "-0"}`; a tuple
is `{"texts": […]}`, `{"ints": […]}` or `{"floats": […]}` of such values.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.ir.model import MetadataValue
from w2e_bridge.ir.plain import PLAIN, numpy_type
from w2e_bridge.protocol import jcs
from w2e_bridge.protocol.manifest import ArrayRecord, Json

_WORDS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan, "-0": -0.0}


def metadata_json(metadata: Mapping[str, MetadataValue]) -> Json:
    """Metadata as JSON."""
    return {key: _said(value) for key, value in metadata.items()}


def metadata_of(document: Mapping[str, object]) -> dict[str, MetadataValue]:
    """Metadata out of JSON; `ValueError` where it is none."""
    return {key: _meant(value) for key, value in document.items()}


def _said(value: MetadataValue) -> object:
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return _int(value)
    if isinstance(value, float):
        return {"float": _float(value)}
    if all(isinstance(item, str) for item in value):
        return {"texts": list(value)}
    if all(isinstance(item, int) for item in value):
        return {"ints": [_int(item) for item in value]}
    return {"floats": [_float(item) for item in value]}


def number_json(value: object) -> object:
    """A number of a field whose type is known, as JSON; anything else as it is."""
    if isinstance(value, float):
        return _float(value)
    return _int(value) if isinstance(value, int) and not isinstance(value, bool) else value


def number_of(value: object) -> object:
    """The inverse of `number_json`."""
    if isinstance(value, str) and value in _WORDS:
        return _WORDS[value]
    return _to_int(value) if isinstance(value, dict) else value


def _int(value: object) -> object:
    assert isinstance(value, int)
    return int(value) if abs(value) <= jcs.EXACT else {"int": str(int(value))}


def _float(value: object) -> object:
    number = float(value)  # type: ignore[arg-type]
    if math.isnan(number):
        return "nan"
    if math.isinf(number):
        return "inf" if number > 0 else "-inf"
    return "-0" if number == 0 and math.copysign(1, number) < 0 else number


def _meant(value: object) -> MetadataValue:
    if isinstance(value, bool | str | int):
        return value
    if isinstance(value, dict) and len(value) == 1:
        ((kind, content),) = value.items()
        if kind == "int":
            return _to_int(value)
        if kind == "float":
            return _to_float(content)
        if kind in _TUPLES and isinstance(content, list):
            return tuple(map(_TUPLES[kind], content))  # type: ignore[return-value]
    raise ValueError(f"metadata: {str(value)[:60]} is no value")


def _to_text(value: object) -> str:
    if not isinstance(value, str):
        _refuse("text")
    return value


def _to_int(value: object) -> int:
    if isinstance(value, dict) and isinstance(value.get("int"), str) and len(value) == 1:
        return int(value["int"])
    if isinstance(value, bool) or not isinstance(value, int):
        _refuse("an integer")
    return value


def _to_float(value: object) -> float:
    if isinstance(value, str) and value in _WORDS:
        return _WORDS[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        _refuse("a number")
    return float(value)


def _refuse(expected: str) -> NoReturn:
    raise ValueError(f"metadata: expected {expected}")


_TUPLES = {"texts": _to_text, "ints": _to_int, "floats": _to_float}


def array_record(array: NDArray[np.generic]) -> ArrayRecord:
    """An array as a record."""
    text = base64.b64encode(array.tobytes()).decode("ascii")
    return ArrayRecord(dtype=str(array.dtype), shape=tuple(np.shape(array)), data=text)


def array_of(record: ArrayRecord) -> NDArray[np.generic]:
    """The array of a record; `ValueError` where type, shape and bytes don't go together."""
    if record.dtype not in PLAIN and record.dtype != "bool":
        raise ValueError(f"{record.dtype[:40]!r} is no type of numbers")
    kind = np.dtype(bool) if record.dtype == "bool" else numpy_type(PLAIN[record.dtype])
    try:
        data = base64.b64decode(record.data, validate=True)
    except binascii.Error as error:
        raise ValueError("an array that is no base64") from error
    if any(n < 0 for n in record.shape) or len(data) != math.prod(record.shape) * kind.itemsize:
        raise ValueError(f"{len(data)} bytes for an array of shape {list(record.shape)[:8]}")
    return np.frombuffer(data, kind).reshape(record.shape)
