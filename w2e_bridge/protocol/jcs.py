"""Canonical JSON: the same value is the same text, everywhere (RFC 8785, JSON Canonicalization Scheme).

One addition: half a surrogate pair, which RFC 8785 forbids and Python's text may hold, is escaped, so
that names which are no UTF-8 survive. Where there is none, the text is RFC 8785's.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from json.encoder import encode_basestring
from typing import NoReturn

EXACT = (1 << 53) - 1
"""The largest integer that every reader of JSON takes for what it is (RFC 7493)."""

_LONE = re.compile("[\ud800-\udfff]")


def dumps(value: object) -> str:
    """The canonical text of a value made of None, bool, int, float, str, lists and mappings.

    Raises:
        ValueError: a number that JSON has no word for: not finite, or an integer beyond 2^53.
        TypeError: something else.
    """
    match value:
        case None | bool():
            text = {None: "null", True: "true", False: "false"}[value]
        case str():
            text = _text(value)
        case int():
            text = _integer(value)
        case float():
            text = number(value)
        case Mapping():
            keys = sorted(value, key=_utf16)
            text = "{" + ",".join(f"{_text(key)}:{dumps(value[key])}" for key in keys) + "}"
        case list() | tuple():
            text = "[" + ",".join(map(dumps, value)) + "]"
        case _:
            raise TypeError(f"{type(value).__name__} is not of JSON")
    return text


def number(value: float) -> str:
    """A float as ECMAScript writes it (ECMA-262, Number::toString), which RFC 8785 prescribes."""
    if not math.isfinite(value):
        raise ValueError(f"{value} is no number of JSON")
    if value == 0:
        return "0"
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)
    text, point = "".join(map(str, digits)), len(digits) + exponent  # 0.text * 10^point
    if 0 < point <= 21:
        body = text.ljust(point, "0") if len(text) <= point else f"{text[:point]}.{text[point:]}"
    elif -6 < point <= 0:
        body = f"0.{'0' * -point}{text}"
    else:
        mantissa = text if len(text) == 1 else f"{text[0]}.{text[1:]}"
        body = f"{mantissa}e{point - 1:+d}"
    return "-" + body if sign else body


def loads(text: str | bytes) -> object:
    """A value out of JSON that nobody vouches for.

    Raises:
        ValueError: no JSON, a key twice in one object, NaN or infinity, nested too deep, no UTF-8.
    """
    try:
        return json.loads(
            text,
            object_pairs_hook=_object,
            parse_constant=_refuse,
            parse_int=_whole,
            parse_float=_finite,
        )
    except RecursionError as error:
        raise ValueError("JSON nested too deep") from error


def _text(value: str) -> str:
    text = encode_basestring(value)
    return _LONE.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


def _utf16(key: str) -> bytes:
    return key.encode("utf-16-be", "surrogatepass")


def _object(pairs: Iterable[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {key[:40]!r} twice")
        found[key] = value
    return found


def _integer(value: int) -> str:
    if abs(value) > EXACT:
        raise ValueError(f"{value} is no exact number of JSON")
    return str(int(value))


def _whole(text: str) -> int | float:
    # Beyond 2^53 the number meant is the double that its writer had, not all the digits.
    value = int(text) if len(text) <= len(str(-EXACT)) else math.inf
    return int(value) if abs(value) <= EXACT else _finite(text)


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text[:40])


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")
