"""Blocks as records of fields, the way ggml's C structs have them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

AnyArray = NDArray[Any]
Bytes = NDArray[np.uint8]
Fields = NDArray[np.void]
"""Records of n blocks, (n,)."""
Content = dict[str, AnyArray]
"""What is to be put into each field of n blocks, in any shape of the right size."""


def struct(**fields: DTypeLike) -> np.dtype[np.void]:
    """A record without padding: field to numpy type, "16u1" being sixteen bytes."""
    return np.dtype(list(fields.items()))


def take(fields: Fields, name: str) -> AnyArray:
    """A field as a contiguous array, (n, …); a view where it can be one.

    Args:
        fields: records of n blocks.
        name: of the field, dotted where records are nested.
    """
    field = _field(fields, name)
    return np.ascontiguousarray(_as_items(field)).view(field.dtype)


def put(fields: Fields, name: str, values: AnyArray) -> None:
    """Fills a field, cast to its type; values that have its type keep every bit."""
    field = _field(fields, name)
    items = _as_items(field)
    items[...] = np.ascontiguousarray(values, field.dtype).reshape(field.shape).view(items.dtype)


def merge(content: Content, more: Content) -> None:
    """Adds content; a field that both have holds the bits of both."""
    for name, values in more.items():
        content[name] = content[name] | values if name in content else values


def _field(fields: AnyArray, name: str) -> AnyArray:
    for part in name.split("."):
        fields = fields[part]
    return fields


def _as_items(field: AnyArray) -> AnyArray:
    # numpy moves a run of neighbours ten times faster as one opaque item than as single numbers
    if field.ndim > 1 and field.strides[-1] == field.itemsize:
        return field.view(f"V{field.shape[-1] * field.itemsize}")
    return field
