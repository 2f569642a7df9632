"""Plain element types: names, encodings and numpy types, one row each."""

from __future__ import annotations

import numpy as np

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.ir.codes import Float, Integer
from w2e_bridge.ir.encoding import Encoding

PLAIN: dict[str, Encoding] = {
    **{
        name: Encoding(codes=Float(name=name))
        for name in (
            "float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e4m3fnuz",
            "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn",
        )
    },
    **{f"int{b}": Encoding(codes=Integer(bits=b, signed=True)) for b in (2, 4, 8, 16, 32, 64)},
    **{f"uint{b}": Encoding(codes=Integer(bits=b)) for b in (2, 4, 8, 16, 32, 64)},
    "bool": Encoding(codes=Integer(bits=1)),
}  # fmt: skip
"""Element type name to its encoding."""


def encoding_of(dtype: str) -> Encoding:
    """The encoding of plain elements of a type; `UnsupportedError` where there is none."""
    if dtype not in PLAIN:
        raise UnsupportedError(f"element type '{dtype}' is not known")
    return PLAIN[dtype]


def numpy_type(encoding: Encoding) -> np.dtype[np.generic]:
    """The numpy type that holds an unpacked code of a plain encoding or of an encoding's codes."""
    codes = encoding.codes
    if isinstance(codes, Float):
        if codes.name in ("float64", "float32", "float16"):
            return np.dtype(codes.name)
        import ml_dtypes

        narrow: type[np.generic] = getattr(ml_dtypes, codes.name)
        return np.dtype(narrow)
    bits = next(width for width in (8, 16, 32, 64) if width >= codes.bits)
    signed = isinstance(codes, Integer) and codes.signed
    return np.dtype(f"{'int' if signed else 'uint'}{bits}")
