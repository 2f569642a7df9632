"""Functions that no kernel has, by polynomials and quotients of them, in float32."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from w2e_bridge.passes.legalize.place import Place

ERF_TOP = (
    -2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05,
    -7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02,
)  # fmt: skip
ERF_BOTTOM = (
    -1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03,
    -1.42647390514189e-02,
)  # fmt: skip
"""Coefficients in x², highest first, of erf(x) = x · top / bottom for |x| <= 4: those of Eigen
(unsupported/Eigen/src/SpecialFunctions/SpecialFunctionsImpl.h, generic_fast_erf_float)."""


def polynomial(place: Place, x: ir.Value, coefficients: Sequence[float]) -> ir.Value:
    """By Horner's rule; coefficients highest first."""
    value = place.constant(np.float32(coefficients[0]))
    for coefficient in coefficients[1:]:
        value = place.add("Mul", value, x)
        value = place.add("Add", value, place.constant(np.float32(coefficient)))
    return value


def erf(place: Place, x: ir.Value) -> ir.Value:
    """The error function."""
    low, high = place.constant(np.float32(-4)), place.constant(np.float32(4))
    bounded = place.add("Min", place.add("Max", x, low), high)
    square = place.add("Mul", bounded, bounded)
    top = place.add("Mul", bounded, polynomial(place, square, ERF_TOP))
    return place.add("Div", top, polynomial(place, square, ERF_BOTTOM))
