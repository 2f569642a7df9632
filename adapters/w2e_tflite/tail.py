"""What stands behind the model in a file: files of its own, as a ZIP archive that counts from the file's start."""

from __future__ import annotations

import struct

_END = b"PK\x05\x06"
_ENTRY = b"PK\x01\x02"
_END_SIZE, _ENTRY_SIZE = 22, 46
_UNKNOWN = 0xFFFFFFFF


def moved(tail: bytes, start: int) -> bytes:
    """The same tail at another place in a file; an archive's own offsets move with it.

    Fields as in PKWARE's APPNOTE.TXT, 4.3.12 and 4.3.16. What is no archive stays as it is.
    """
    end = tail.rfind(_END)
    if end < 0 or end + _END_SIZE > len(tail):
        return tail
    size, offset = struct.unpack_from("<II", tail, end + 12)
    directory = end - size
    if directory < 0 or _UNKNOWN in (size, offset):
        return tail
    by = start + directory - offset
    data = bytearray(tail)
    struct.pack_into("<I", data, end + 16, offset + by)
    at = directory
    while at + _ENTRY_SIZE <= end and data[at : at + 4] == _ENTRY:
        lengths = struct.unpack_from("<HHH", data, at + 28)
        local = struct.unpack_from("<I", data, at + 42)[0]
        if not 0 <= local + by < _UNKNOWN:
            return tail
        struct.pack_into("<I", data, at + 42, local + by)
        at += _ENTRY_SIZE + sum(lengths)
    return bytes(data)
