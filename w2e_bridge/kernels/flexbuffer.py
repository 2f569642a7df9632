"""Maps of numbers in FlexBuffers, the options of many custom operators. No count or offset is trusted.

Format: google/flatbuffers docs/source/internals.md, "FlexBuffers": a value is read backwards from the end;
a vector's length stands before it; a map is a vector of values with a vector of keys, offsets relative to
where they stand.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from w2e_bridge.errors import UnsupportedError

NULL, INT, UINT, FLOAT, KEY, STRING, INDIRECT_INT, INDIRECT_UINT, INDIRECT_FLOAT, MAP = range(10)
BOOL = 26

SIGNED = {1: "<b", 2: "<h", 4: "<i", 8: "<q"}
UNSIGNED = {1: "<B", 2: "<H", 4: "<I", 8: "<Q"}
REAL = {2: "<e", 4: "<f", 8: "<d"}

MOST = 10_000
"""Entries of a map."""

Number = int | float | bool


@dataclass(frozen=True, slots=True)
class _Reader:
    data: bytes

    def number(self, form: dict[int, str], offset: int, width: int) -> Number:
        """A number at an offset."""
        if width not in form or not 0 <= offset <= len(self.data) - width:
            raise UnsupportedError("options that are cut or no FlexBuffer")
        found = struct.unpack_from(form[width], self.data, offset)[0]
        assert isinstance(found, int | float)
        return found

    def whole(self, offset: int, width: int) -> int:
        """An unsigned number at an offset."""
        return int(self.number(UNSIGNED, offset, width))

    def target(self, offset: int, width: int) -> int:
        """Where an offset leads to."""
        return offset - self.whole(offset, width)

    def text(self, offset: int) -> str:
        """A key."""
        end = self.data.find(b"\0", max(offset, 0))
        if offset < 0 or end < 0:
            raise UnsupportedError("options with a key that does not end")
        return self.data[offset:end].decode(errors="replace")

    def value(self, offset: int, parent: int, packed: int) -> Number | None:
        """A number of a map; None for what is none."""
        kind, width = packed >> 2, 1 << (packed & 3)
        if kind in (INDIRECT_INT, INDIRECT_UINT, INDIRECT_FLOAT):
            offset, parent, kind = self.target(offset, parent), width, kind - INDIRECT_INT + INT
        if kind == BOOL:
            return bool(self.whole(offset, parent))
        form = {INT: SIGNED, UINT: UNSIGNED, FLOAT: REAL}.get(kind)
        return None if form is None else self.number(form, offset, parent)


def numbers_of(data: bytes) -> dict[str, Number]:
    """The numbers of a FlexBuffer that is a map, by key.

    Raises:
        UnsupportedError: it is none.
    """
    reader = _Reader(data)
    if len(data) < 3:
        raise UnsupportedError("options that are cut or no FlexBuffer")
    parent, packed = data[-1], data[-2]
    if packed >> 2 != MAP or parent not in UNSIGNED:
        raise UnsupportedError("options that are no map")
    start, width = reader.target(len(data) - 2 - parent, parent), 1 << (packed & 3)
    count = reader.whole(start - width, width)
    keys, key_width = (
        reader.target(start - 3 * width, width),
        reader.whole(start - 2 * width, width),
    )
    if count > MOST or start + count * (width + 1) > len(data):
        raise UnsupportedError("options that are cut or no FlexBuffer")
    found: dict[str, Number] = {}
    for index in range(count):
        name = reader.text(reader.target(keys + index * key_width, key_width))
        kind = data[start + count * width + index]
        value = reader.value(start + index * width, width, kind)
        if value is not None:
            found[name] = value
    return found
