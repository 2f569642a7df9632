"""Sums of products by index notation, as Transposes, Reshapes and one product of matrices for each pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from w2e_bridge.passes.layout.site import Dim
from w2e_bridge.passes.legalize.place import Place
from w2e_bridge.passes.legalize.rules import Rule

SPARE = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""Letters for the axes of an ellipsis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """An operand.

    Attributes:
        value: its numbers.
        axes: a letter for each axis.
    """

    value: ir.Value
    axes: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Equation:
    """What is computed.

    Attributes:
        terms: operands.
        result: letters of the result.
        extents: of each letter.
    """

    terms: list[Term]
    result: str
    extents: Mapping[str, Dim]


def _read(place: Place) -> Equation | None:
    """The equation, ellipses written out; None where an axis is there twice or ranks are not known."""
    text = place.text("equation", "").replace(" ", "")
    left, _, right = text.partition("->")
    parts = left.split(",")
    values = [value for value in place.node.inputs if value is not None]
    shapes = [place.shape(value) for value in values]
    if len(parts) != len(values) or any(shape is None for shape in shapes):
        return None
    wide = max(len(s or ()) - len(p.replace("...", "")) for s, p in zip(shapes, parts, strict=True))
    spare = "".join(c for c in SPARE if c not in text)[: max(0, wide)]
    if len(spare) < wide:
        return None
    terms: list[Term] = []
    extents: dict[str, Dim] = {}
    for value, shape, part in zip(values, shapes, parts, strict=True):
        assert shape is not None
        count = len(shape) - len(part.replace("...", ""))
        axes = part.replace("...", spare[len(spare) - count :] if count else "")
        if len(axes) != len(shape) or len(set(axes)) < len(axes):
            return None
        for letter, extent in zip(axes, shape, strict=True):
            if extents.get(letter, 1) in (1, None):
                extents[letter] = extent
            if extent == 1 != extents[letter]:
                return None  # broadcast, which products of matrices do for leading axes only
        terms.append(Term(value=value, axes=axes))
    implied = "->" not in text
    result = _implied(parts, spare) if implied else right.replace("...", spare)
    return Equation(terms=terms, result=result, extents=extents)


def _implied(parts: Sequence[str], spare: str) -> str:
    """Without a result: the ellipsis, then the letters that are there once, in alphabetical order."""
    letters = "".join(parts).replace("...", "")
    return spare + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))


def einsum(place: Place) -> bool:
    """A sum of products.

    before: Einsum("bhqd,bhkd->bhqk", a, b).
    after: MatMul(Transpose(a), Transpose(b)), axes that are summed or free put together by Reshapes.
    why exact: the same products are summed.
    """
    equation = _read(place)
    if equation is None or len(set(equation.result)) < len(equation.result):
        return False
    terms = list(equation.terms)
    if any(c not in equation.extents for c in equation.result):
        return False
    while len(terms) > 1:
        kept = equation.result + "".join(term.axes for term in terms[2:])
        made = _product(place, terms[0], terms[1], kept, equation.extents)
        if made is None:
            return False
        terms = [made, *terms[2:]]
    last = _summed(place, terms[0], equation.result)
    return place.replace(_ordered(place, last, equation.result).value)


def _summed(place: Place, term: Term, kept: str) -> Term:
    """Axes that nobody needs any more are summed."""
    gone = [i for i, letter in enumerate(term.axes) if letter not in kept]
    if not gone:
        return term
    value = place.add("ReduceSum", term.value, place.constant(gone), attributes={"keepdims": 0})
    return Term(value=value, axes="".join(c for c in term.axes if c in kept))


def _ordered(place: Place, term: Term, axes: str) -> Term:
    if term.axes == axes:
        return Term(value=place.add("Identity", term.value), axes=axes)
    perm = [term.axes.index(c) for c in axes]
    return Term(value=place.add("Transpose", term.value, attributes={"perm": perm}), axes=axes)


def _product(place: Place, a: Term, b: Term, kept: str, extents: Mapping[str, Dim]) -> Term | None:
    """Two operands as one."""
    a, b = _summed(place, a, kept + b.axes), _summed(place, b, kept + a.axes)
    batch = "".join(c for c in a.axes if c in b.axes and c in kept)
    inner = "".join(c for c in a.axes if c in b.axes and c not in kept)
    rows = "".join(c for c in a.axes if c not in b.axes)
    columns = "".join(c for c in b.axes if c not in a.axes)
    first = _matrix(place, _ordered(place, a, batch + rows + inner), (batch, rows, inner), extents)
    last = _matrix(
        place, _ordered(place, b, batch + inner + columns), (batch, inner, columns), extents
    )
    shape = _joined([*batch, *rows, *columns], extents)
    if first is None or last is None or shape is None:
        return None
    product = place.add("MatMul", first, last)
    axes = batch + rows + columns
    if len(rows) != 1 or len(columns) != 1:
        product = place.add("Reshape", product, place.constant(shape))
    return Term(value=product, axes=axes)


def _matrix(
    place: Place, term: Term, groups: tuple[str, str, str], extents: Mapping[str, Dim]
) -> ir.Value | None:
    """A stack of matrices: two groups of axes put together to one each."""
    batch, rows, columns = groups
    if len(rows) == len(columns) == 1:
        return term.value
    shape = _joined([*batch, rows, columns], extents)
    return None if shape is None else place.add("Reshape", term.value, place.constant(shape))


def _joined(groups: Sequence[str], extents: Mapping[str, Dim]) -> list[int] | None:
    """A shape with an extent for each group, -1 for the one that is not known; None where several aren't."""
    shape = []
    for group in groups:
        whole = 1
        for letter in group:
            extent = extents[letter]
            whole = whole * extent if isinstance(extent, int) and whole >= 0 else -1
        shape.append(whole)
    return shape if shape.count(-1) < 2 else None


RULES: Mapping[str, tuple[Rule, ...]] = {"Einsum": (einsum,)}
