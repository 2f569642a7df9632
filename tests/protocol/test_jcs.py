from __future__ import annotations

import json
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from w2e_bridge.protocol import jcs

# RFC 8785, appendix B: bits of a double and how it is written.
RFC_NUMBERS = [
    ("0000000000000000", "0"),
    ("8000000000000000", "0"),
    ("0000000000000001", "5e-324"),
    ("8000000000000001", "-5e-324"),
    ("7fefffffffffffff", "1.7976931348623157e+308"),
    ("4340000000000000", "9007199254740992"),
    ("c340000000000000", "-9007199254740992"),
    ("4430000000000000", "295147905179352830000"),
    ("44b52d02c7e14af5", "9.999999999999997e+22"),
    ("44b52d02c7e14af6", "1e+23"),
    ("44b52d02c7e14af7", "1.0000000000000001e+23"),
    ("444b1ae4d6e2ef4e", "999999999999999700000"),
    ("444b1ae4d6e2ef4f", "999999999999999900000"),
    ("444b1ae4d6e2ef50", "1e+21"),
    ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
    ("3eb0c6f7a0b5ed8d", "0.000001"),
    ("41b3de4355555553", "333333333.3333332"),
    ("becbf647612f3696", "-0.0000033333333333333333"),
]


@pytest.mark.parametrize(("bits", "text"), RFC_NUMBERS)
def test_numbers_of_the_rfc(bits: str, text: str) -> None:
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    assert jcs.dumps(value) == text


def test_example_of_the_rfc() -> None:
    source = r"""{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false]}"""
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert jcs.dumps(jcs.loads(source)) == expected


def test_keys_are_sorted_by_utf16() -> None:
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\x80", "\xf6"]
    text = jcs.dumps(dict.fromkeys(keys, 0))
    assert list(json.loads(text)) == ["\r", "1", "\x80", "\xf6", "\u20ac", "\U0001f600", "\ufb33"]


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-jcs.EXACT, jcs.EXACT)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON)
def test_every_value_comes_back(value: object) -> None:
    text = jcs.dumps(value)
    assert jcs.loads(text) == value
    assert jcs.dumps(jcs.loads(text)) == text


def test_half_a_surrogate_pair_survives() -> None:
    text = jcs.dumps({"\udc80": "a\ud800"})
    text.encode()
    assert jcs.loads(text) == {"\udc80": "a\ud800"}


@pytest.mark.parametrize("value", [math.nan, math.inf, jcs.EXACT + 1, -jcs.EXACT - 1])
def test_numbers_without_a_word(value: float) -> None:
    with pytest.raises(ValueError, match="number of JSON"):
        jcs.dumps(value)


@pytest.mark.parametrize("value", [b"x", {1, 2}, object()])
def test_other_things(value: object) -> None:
    with pytest.raises(TypeError):
        jcs.dumps(value)


@pytest.mark.parametrize(
    "text",
    ['{"a":1,"a":2}', "NaN", "[Infinity]", "{", "", "[" * 100_000, b"\xff", "1" * 5000, "-1e999"],
)
def test_bad_json(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        jcs.loads(text)
