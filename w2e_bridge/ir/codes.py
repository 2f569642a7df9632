"""What a stored code means before scale and offset: the code maps.

A code map turns a code into a number. `Integer` and `Float` are the identity on their type, `Table`
looks a code up, `VectorTable` looks up several neighbouring weights at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Integer:
    """Two's complement or unsigned integers of 1 to 64 bits; unpacked to the next numpy type.

    Attributes:
        bits: width of a code.
        signed: two's complement if true.
    """

    bits: int
    signed: bool = False

    @property
    def low(self) -> int:
        """Smallest code."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        """Largest code."""
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1

    def __str__(self) -> str:
        return f"{'' if self.signed else 'u'}int{self.bits}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Float:
    """A floating-point type whose codes are the numbers themselves.

    Attributes:
        name: numpy or ml_dtypes name: "float32", "float16", "bfloat16", "float64", "float8_e4m3fn",
            "float8_e8m0fnu", "float4_e2m1fn", …
    """

    name: str

    @property
    def bits(self) -> int:
        """Width of a code."""
        return _FLOAT_BITS[self.name]

    @property
    def high(self) -> float:
        """The largest number; of types of one byte and less."""
        return _FLOAT_HIGH[self.name]

    def __str__(self) -> str:
        return self.name


_FLOAT_BITS = {
    "float64": 64,
    "float32": 32,
    "float16": 16,
    "bfloat16": 16,
    "float8_e4m3fn": 8,
    "float8_e4m3fnuz": 8,
    "float8_e5m2": 8,
    "float8_e5m2fnuz": 8,
    "float8_e8m0fnu": 8,
    "float6_e2m3fn": 6,
    "float6_e3m2fn": 6,
    "float4_e2m1fn": 4,
}


_FLOAT_HIGH = {
    "float8_e4m3fn": 448.0,
    "float8_e4m3fnuz": 240.0,
    "float8_e5m2": 57344.0,
    "float8_e5m2fnuz": 57344.0,
    "float8_e8m0fnu": 2.0**127,
    "float6_e2m3fn": 7.5,
    "float6_e3m2fn": 28.0,
    "float4_e2m1fn": 6.0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A look-up table from code to number.

    Attributes:
        name: what the table is called in its field ("iq4_nl", "nf4", "ue4m3").
        values: the number of each code, exact in float32.
    """

    name: str
    values: tuple[float, ...]

    @property
    def bits(self) -> int:
        """Width of a code."""
        return max(1, (len(self.values) - 1).bit_length())

    def array(self) -> NDArray[np.float32]:
        """The values as float32, one per code."""
        return _table_array(self.values)

    @property
    def integral(self) -> bool:
        """Whether every value is an integer, so that the table can be unrolled into integer codes."""
        return all(value == int(value) for value in self.values)

    def __str__(self) -> str:
        return self.name


@lru_cache(maxsize=64)
def _table_array(values: tuple[float, ...]) -> NDArray[np.float32]:
    array = np.asarray(values, np.float32)
    array.setflags(write=False)
    return array


@dataclass(frozen=True, kw_only=True)
class VectorTable:
    """A codebook of short integer vectors: one code stands for `width` neighbouring weights.

    Attributes:
        name: what the codebook is called in its field ("iq2_xs").
        width: weights that one code stands for.
        values: the codebook as int8, row-major (entries, width), as bytes so that it hashes and compares.
        signs: whether each weight has a sign bit of its own beside the code.
    """

    name: str
    width: int
    values: bytes
    signs: bool

    @cached_property
    def grid(self) -> NDArray[np.int8]:
        """The codebook, (entries, width)."""
        return np.frombuffer(self.values, np.int8).reshape(-1, self.width)

    @property
    def bits(self) -> int:
        """Width of a code, without sign bits."""
        return max(1, (len(self.values) // self.width - 1).bit_length())

    def __str__(self) -> str:
        return self.name


CodeMap = Integer | Float | Table | VectorTable
