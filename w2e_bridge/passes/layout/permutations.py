"""Permutations of axes, as ONNX's Transpose has them: axis k of the result is axis `perm[k]` of its input."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Perm = tuple[int, ...]


def identity(rank: int) -> Perm:
    """Nothing is moved."""
    return tuple(range(rank))


def still(perm: Perm) -> bool:
    """Whether nothing is moved."""
    return perm == identity(len(perm))


def inverse(perm: Perm) -> Perm:
    """What undoes a permutation; also: where each axis has gone."""
    return tuple(perm.index(axis) for axis in range(len(perm)))


def then(first: Perm, second: Perm) -> Perm:
    """One permutation after another."""
    return tuple(first[axis] for axis in second)


def to_last(rank: int) -> Perm:
    """From channels first to channels last."""
    return (0, *range(2, rank), 1)


def to_first(rank: int) -> Perm:
    """From channels last to channels first."""
    return (0, rank - 1, *range(1, rank - 1))


def without(perm: Perm, axes: Iterable[int]) -> Perm:
    """The order of the axes that stay when some vanish."""
    gone = set(axes)
    number = {axis: i for i, axis in enumerate(a for a in range(len(perm)) if a not in gone)}
    return tuple(number[axis] for axis in perm if axis not in gone)


def containing(axes: Iterable[int], order: Perm, natural: Sequence[Perm]) -> Perm | None:
    """The first of some permutations that orders the axes which are not in `axes` so."""
    gone = set(axes)
    return next((perm for perm in natural if without(perm, gone) == order), None)


def valid(perm: Iterable[int], rank: int) -> bool:
    """Whether it permutes that many axes."""
    return sorted(perm) == list(range(rank))
