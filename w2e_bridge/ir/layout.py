"""How a container packs an encoding into bytes: the codec of readers and writers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.ir.encoding import Encoding
from w2e_bridge.ir.parts import Parts


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layout:
    """Packed rows of one encoding: every row is a whole number of blocks of bytes.

    Attributes:
        name: unique, "ggml.q4_k".
        label: what people call it, "Q4_K".
        encoding: what the bytes mean.
        elements: weights in a block of bytes.
        bytes: bytes of a block.
        unpack: (rows, blocks, bytes) uint8 to parts of (rows, blocks * elements).
        pack: parts back to (rows, blocks, bytes) uint8, or None where the layout can only be read;
            byte-equal for every block that a quantizer writes.
        redundant: several blocks of bytes mean the same, so that packing may give back other bytes than
            there were. Who keeps such bytes looks at them.
    """

    name: str
    label: str
    encoding: Encoding
    elements: int
    bytes: int
    unpack: Callable[[NDArray[np.uint8]], Parts]
    pack: Callable[[Parts], NDArray[np.uint8]] | None = None
    redundant: bool = False

    def row_bytes(self, columns: int) -> int:
        """Bytes of a row of `columns` weights, which is a whole number of blocks."""
        return columns // self.elements * self.bytes
