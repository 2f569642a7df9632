"""An operator's options as attributes of an operation, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.kernels.operation import Attribute
from w2e_tflite.container import CUSTOM, Container
from w2e_tflite.record import Record, Value, make
from w2e_tflite.schema import Field, Shape, enums, options_of, tables, union_of

CUSTOM_OPTIONS = "custom_options"
FIELDS = {"BuiltinOptions": "builtin_options", "BuiltinOptions2": "builtin_options_2"}
SUBGRAPH = "_subgraph_index"
"""How fields end that name a subgraph."""

_STRIDES = ("stride_h", "stride_w")
_MOST_STEPS = 1 << 18
"""A stride has a kernel of its own for each of its places where it is undone; none is as long as an image."""


def attributes_of(container: Container, operator: Record, kind: str) -> dict[str, Attribute]:
    """The options of an operator, what is absent by its default; lists and texts only where they are there.

    Raises:
        FormatError: options of another operator, or numbers that no enumeration has.
    """
    if kind.startswith(CUSTOM):
        data = operator.bytes(CUSTOM_OPTIONS)
        return {CUSTOM_OPTIONS: b"" if data is None else data.read(0, data.nbytes).tobytes()}
    table = options_of(kind.upper())
    if table is None:
        return {}
    name = FIELDS[union_of(table)]
    options = operator.record(name)
    if options is None and operator.union_type(name):
        raise container.error(operator, f"{kind.upper()}: options of a newer schema")
    if options is None:
        options = Record(kind=table, offset=operator.offset)
    if options.kind != table:
        raise container.error(operator, f"{kind.upper()}: expected {table}, found {options.kind}")
    found = {item.name: _attribute(container, options, item) for item in tables()[table].fields}
    steps = math.prod(int(str(found.get(name) or 1)) for name in _STRIDES)
    if abs(steps) > _MOST_STEPS:
        raise container.error(options, f"{kind.upper()}: strides of {steps} elements together")
    return {key: value for key, value in found.items() if value is not None}


def _attribute(container: Container, options: Record, item: Field) -> Attribute | None:
    value = options.values.get(item.name)
    if item.shape in (Shape.TABLE, Shape.UNION):
        if value is None:
            return None
        raise UnsupportedError(f"{options.kind}.{item.name} is not carried")
    if item.vector:
        return None if value is None else _vector(value)
    if item.shape is Shape.STRING:
        return None if value is None else str(value)
    number = item.default if value is None else value
    if item.type in enums():
        member = enums()[item.type].members.get(number)
        if member is None:
            problem = f"{options.kind}.{item.name}: {item.type} has no {number}"
            raise container.error(options, problem)
        return member
    if item.type == "bool":
        return bool(number)
    return float(number) if item.type.startswith("f") else int(number)


def _vector(value: Value) -> Attribute:
    if hasattr(value, "nbytes") and hasattr(value, "read"):
        return bytes(value.read(0, value.nbytes))
    if isinstance(value, np.ndarray):
        return tuple(value.tolist())
    return tuple(value)


def options_record(kind: str, attributes: Mapping[str, Attribute]) -> Record | None:
    """The options of an operator that is written; attributes that it has no field for are left out."""
    table = options_of(kind.upper())
    if table is None:
        return None
    fields = tables()[table].by_name
    values = {
        name: _field(fields[name], value) for name, value in attributes.items() if name in fields
    }
    return make(table, values)


def _field(item: Field, value: Attribute) -> Value:
    if item.type in enums() and isinstance(value, str):
        return enums()[item.type].numbers[value]
    if item.vector and item.shape is Shape.SCALAR and isinstance(value, tuple):
        return np.asarray(value, item.scalar)
    return value
