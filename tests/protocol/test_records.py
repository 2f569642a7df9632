from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.graph.samples import TABLES, encodings
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.codes import Float, Integer, Table
from w2e_bridge.ir.encoding import FLOAT32, Encoding
from w2e_bridge.ir.model import MetadataValue
from w2e_bridge.protocol import jcs
from w2e_bridge.protocol.encodings import (
    Tables,
    activation_of,
    activation_record,
    codes_of,
    encoding_of,
    encoding_record,
)
from w2e_bridge.protocol.manifest import (
    ActivationRecord,
    ArrayRecord,
    EncodingRecord,
    Manifest,
    from_json,
    from_text,
    to_text,
)
from w2e_bridge.protocol.values import array_of, array_record, metadata_json, metadata_of

SHAPE = (2, 3, 8)
NONE: dict[str, NDArray[np.generic]] = {}
"""No look-up tables."""


@settings(derandomize=True, max_examples=150, deadline=None)
@given(encodings(SHAPE))
def test_encodings_come_back_through_text(encoding: Encoding) -> None:
    tables = Tables()
    text = to_text(encoding_record(encoding, tables))
    stored = dict(tables.arrays())
    assert encoding_of(from_text(text, EncodingRecord), stored.__getitem__) == encoding


def test_tables_of_one_name_are_kept_apart() -> None:
    tables = Tables()
    first, second, other = (
        encoding_record(Encoding(codes=table, block=(8,), scale=FLOAT32), tables)
        for table in TABLES
    )
    again = encoding_record(Encoding(codes=TABLES[1], block=(1,), scale=FLOAT32), tables)
    assert [key for key, _ in tables.arrays()] == ["nf4", "nf4#2", "bytes"]
    assert second.codes == again.codes != first.codes
    stored = dict(tables.arrays())
    assert encoding_of(second, stored.__getitem__).codes == TABLES[1]
    assert encoding_of(other, stored.__getitem__).codes == TABLES[2]


def test_tables_of_integers_compare_equal() -> None:
    tables = Tables()
    table = Table(name="doubled", values=(0, 1, -3))
    record = encoding_record(Encoding(codes=table, block=(8,), scale=FLOAT32), tables)
    assert encoding_of(record, dict(tables.arrays()).__getitem__).codes == table


@pytest.mark.parametrize("name", ["int0", "uint65", "int04", "float31", "Int4", "int4 ", ""])
def test_codes_that_are_none(name: str) -> None:
    with pytest.raises(ValueError, match="is no type of codes"):
        codes_of(name, NONE.__getitem__)


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("uint1", Integer(bits=1)),
        ("int64", Integer(bits=64, signed=True)),
        ("float8_e8m0fnu", Float(name="float8_e8m0fnu")),
    ],
)
def test_names_of_codes(name: str, codes: Integer | Float) -> None:
    assert codes_of(name, NONE.__getitem__) == codes
    assert str(codes) == name


METADATA: st.SearchStrategy[MetadataValue] = st.one_of(
    st.text(st.characters()),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.lists(st.text()).map(tuple),
    st.lists(st.integers()).map(tuple),
    st.lists(st.floats(), min_size=1).map(tuple),
)


@settings(derandomize=True, max_examples=150, deadline=None)
@given(st.dictionaries(st.text(), METADATA, max_size=4))
def test_metadata_comes_back_to_the_bit(metadata: dict[str, MetadataValue]) -> None:
    document = jcs.loads(jcs.dumps(metadata_json(metadata)))
    assert isinstance(document, dict)
    found = metadata_of(document)
    assert found.keys() == metadata.keys()
    assert {k: repr(v) for k, v in found.items()} == {k: repr(v) for k, v in metadata.items()}


@pytest.mark.parametrize(
    "value",
    [None, [1], {}, 1.5, {"float": "x"}, {"int": 1.5}, {"ints": 1}, {"floats": [True]},
     {"texts": [1]}, {"ints": ["1"]}, {"x": 1}, {"int": "1", "float": 1}, {"int": "one"}],
)  # fmt: skip
def test_metadata_that_is_none(value: object) -> None:
    with pytest.raises(ValueError, match=r"metadata|invalid literal"):
        metadata_of({"a": value})


@pytest.mark.parametrize(
    "array",
    [
        np.array(1.5, np.float32), np.zeros((0, 3)), np.arange(6, dtype=np.int8).reshape(2, 3),
        np.array([math.nan, -0.0, math.inf], np.float16), np.array([True, False]),
    ],
)  # fmt: skip
def test_arrays_come_back(array: np.ndarray) -> None:
    found = array_of(from_text(to_text(array_record(array)), ArrayRecord))
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes()


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (ArrayRecord(dtype="object", shape=(), data=""), "no type of numbers"),
        (ArrayRecord(dtype="float32", shape=(1,), data="AAA"), "no base64"),
        (ArrayRecord(dtype="float32", shape=(2,), data="AAAA"), "3 bytes for an array"),
        (ArrayRecord(dtype="float32", shape=(-1, -1), data="AAAAAA=="), "4 bytes for an array"),
        (ArrayRecord(dtype="float32", shape=(1 << 62, 4), data=""), "0 bytes for an array"),
    ],
)
def test_arrays_that_are_none(record: ArrayRecord, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        array_of(record)


def test_quantization_of_values_comes_back() -> None:
    tables = Tables()
    made = ActivationQuantization(
        codes=TABLES[0], scale=np.array(0.1, np.float32), second_level=0.3, narrow_range=True
    )
    text = to_text(activation_record(made, tables))
    found = activation_of(from_text(text, ActivationRecord), dict(tables.arrays()).__getitem__)
    assert (found.codes, found.second_level, found.narrow_range) == (TABLES[0], 0.3, True)
    assert found.scale is not None
    assert (str(found.scale.dtype), found.scale.shape) == ("float32", ())
    assert found.scale.tobytes() == np.float32(0.1).tobytes()


@pytest.mark.parametrize("field", ["mode", "granularity"])
def test_quantization_of_no_kind(field: str) -> None:
    record = msgspec.convert({"codes": "uint8", field: "x"}, ActivationRecord)
    with pytest.raises(ValueError, match="'x' is not a valid"):
        activation_of(record, NONE.__getitem__)


def test_the_schema_is_closed() -> None:
    with pytest.raises(ValueError, match="unknown field `x`"):
        from_json({"w2e": 1, "components": {"model": {"x": 1}}}, Manifest)
