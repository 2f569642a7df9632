"""Sparse constants: only some blocks are stored, and lists say which.

The canonical model has the dense numbers, which are what is computed with. How they were stored is a
`Pattern`, kept as text beside them, so that they can be stored so again.

The layout (schema.fbs, `SparsityParameters`; in LiteRT `tflite/kernels/internal/utils/
sparsity_format_converter.cc`): the dimensions of the tensor and those inside of a block are walked in
`traversal_order`. A level of the walk is dense, or lists for each place of the level before the indices
that are there (compressed sparse rows).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from w2e_tflite.quant import Odd

Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """The order in which the numbers of a tensor are visited.

    Attributes:
        shape: of the tensor.
        order: of the levels: dimensions of the tensor, then those of a block.
        block_map: to which dimension of the tensor each of a block belongs.
        sizes: extents of the levels, in the order of the walk.
    """

    shape: tuple[int, ...]
    order: tuple[int, ...]
    block_map: tuple[int, ...]
    sizes: tuple[int, ...]

    def check(self) -> None:
        """Raise `Odd` unless the walk visits each number of the tensor once."""
        rank, levels = len(self.shape), len(self.shape) + len(self.block_map)
        once = sorted(self.order) == list(range(levels)) and len(self.sizes) == levels
        blocked = len(set(self.block_map)) == len(self.block_map)
        if not once or not blocked or not all(0 <= axis < rank for axis in self.block_map):
            raise Odd(f"a sparse tensor of {rank} dimensions walked as {self.order}")
        for axis, extent in enumerate(self.shape):
            if math.prod(self._split(axis)) != extent or extent <= 0:
                raise Odd(f"a sparse tensor of shape {self.shape} in levels of {self.sizes}")

    def _split(self, axis: int) -> list[int]:
        """Extents of the levels that make a dimension, the outer one first."""
        rank = len(self.shape)
        parts = [axis, *(rank + n for n, mapped in enumerate(self.block_map) if mapped == axis)]
        return [self.sizes[self.order.index(part)] for part in parts]

    def along(self, flat: NDArray[Any]) -> NDArray[Any]:
        """The numbers of a tensor, in its own order, with an axis for each level."""
        rank, extents, axes = len(self.shape), list[int](), dict[int, int]()
        for axis in range(rank):
            axes[axis] = len(extents)
            if axis in self.block_map:
                axes[rank + self.block_map.index(axis)] = len(extents) + 1
            extents += self._split(axis)
        return flat.reshape(extents).transpose([axes[dimension] for dimension in self.order])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Level:
    """What is there on a level.

    Attributes:
        size: of its dimension.
        segments: where the indices of each place of the level before begin, and where the last end; None
            of a dense level.
        indices: which are there; None of a dense level.
    """

    size: int
    segments: Index | None = None
    indices: Index | None = None

    def below(self, place: Index) -> Index:
        """Places of this level, flat, given those of the level before."""
        if self.segments is None or self.indices is None:
            return np.asarray((place[:, None] * self.size + np.arange(self.size)).reshape(-1))
        return np.asarray(np.repeat(place, np.diff(self.segments)) * self.size + self.indices)


def places(levels: tuple[Level, ...], most: int) -> Iterator[Index]:
    """The places that are there on each level, flat.

    Raises:
        Odd: lists that don't go together, or more than `most` places.
    """
    place: Index = np.zeros(1, np.int64)
    for level in levels:
        _check(level, place.size, most)
        place = level.below(place)
        yield place


def _check(level: Level, above: int, most: int) -> None:
    if level.segments is None or level.indices is None:
        if level.size <= 0 or above * level.size > most:
            raise Odd(f"sparse levels of more than {most} places")
        return
    starts, count = level.segments, level.indices.size
    if starts.size != above + 1 or starts[0] != 0 or starts[-1] != count:
        raise Odd(f"{starts.size} segments of {count} indices for {above} places")
    inside = (level.indices >= 0).all() and (level.indices < level.size).all()
    if (np.diff(starts) < 0).any() or not inside:
        raise Odd("segments or indices of a sparse tensor out of order")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sparse:
    """The parameters of a sparse constant.

    Attributes:
        walk: the order of the levels.
        levels: what is there.
    """

    walk: Walk
    levels: tuple[Level, ...]

    def densify(self, values: NDArray[Any]) -> NDArray[Any]:
        """The dense tensor, flat, of the stored numbers.

        Raises:
            Odd: they are more or fewer than the parameters say.
        """
        self.walk.check()
        lists = [lv.segments.size for lv in self.levels if lv.segments is not None]
        *_, place = places(self.levels, max([values.size, *lists]))
        if place.size != values.size:
            raise Odd(f"{values.size} numbers of a sparse tensor, {place.size} places for them")
        numbers = np.arange(math.prod(self.walk.shape))
        dense = np.zeros(numbers.size, values.dtype)
        dense[self.walk.along(numbers).reshape(-1)[place]] = values
        return dense

    def sparsify(self, dense: NDArray[Any]) -> NDArray[Any]:
        """The inverse of `densify`."""
        *_, place = places(self.levels, dense.size)
        return np.asarray(self.walk.along(dense).reshape(-1)[place])

    def empty(self, dense: NDArray[Any]) -> dict[int, tuple[int, ...]]:
        """Places of each listing level that are stored although nothing but zeros is below."""
        walked, found = self.walk.along(dense), dict[int, tuple[int, ...]]()
        for number, place in enumerate(places(self.levels, dense.size)):
            if self.levels[number].indices is not None:
                zero = place[~occupied(walked, number)[place]]
                if zero.size:
                    found[number] = tuple(map(int, zero))
        return found


def occupied(walked: NDArray[Any], level: int) -> NDArray[np.bool_]:
    """For each place of a level whether a number below it is not a positive zero."""
    bits = np.ascontiguousarray(walked).view(f"u{walked.itemsize}")
    size = math.prod(walked.shape[: level + 1])
    return np.asarray((bits.reshape(size, -1) != 0).any(axis=1))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pattern:
    """How a constant was stored, besides its dense numbers.

    Attributes:
        order, block_map, sizes: see `Walk`.
        listed: numbers of the levels that list their indices, with the tables of segments and indices.
        empty: see `Sparse.empty`.
        densify: whether a DENSIFY operator read it.
    """

    order: tuple[int, ...]
    block_map: tuple[int, ...]
    sizes: tuple[int, ...]
    listed: Mapping[int, tuple[str, str]]
    empty: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    densify: bool = False

    def levels(self, shape: tuple[int, ...], dense: NDArray[Any]) -> Sparse:
        """The parameters of dense numbers that are stored in this pattern.

        Raises:
            Odd: the pattern is none of that shape.
        """
        walk = Walk(shape=shape, order=self.order, block_map=self.block_map, sizes=self.sizes)
        walk.check()
        walked, levels = walk.along(dense), list[Level]()
        place: Index = np.zeros(1, np.int64)
        for number, size in enumerate(self.sizes):
            level = Level(size=size)
            if number in self.listed:
                level = self._listed(number, place, occupied(walked, number))
            levels.append(level)
            place = level.below(place)
        return Sparse(walk=walk, levels=tuple(levels))

    def _listed(self, number: int, place: Index, there: NDArray[np.bool_]) -> Level:
        size, there = self.sizes[number], there.copy()
        extra = np.asarray(self.empty.get(number, ()), np.int64)
        there[extra[(extra >= 0) & (extra < there.size)]] = True
        rows = there.reshape(-1, size)[place]  # (places of the level before, size)
        segments = np.concatenate([[0], np.cumsum(rows.sum(axis=1))])
        return Level(size=size, segments=segments, indices=np.nonzero(rows)[1])

    def text(self) -> str:
        """As JSON."""
        said = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps(said, separators=(",", ":"))


def pattern_of(text: str) -> Pattern | None:
    """The inverse of `Pattern.text`; None of text that says no pattern."""
    try:
        said = json.loads(text)
        return Pattern(
            order=_integers(said["order"]),
            block_map=_integers(said["block_map"]),
            sizes=_integers(said["sizes"]),
            listed={int(n): (str(a), str(b)) for n, (a, b) in said["listed"].items()},
            empty={int(n): _integers(places) for n, places in said["empty"].items()},
            densify=bool(said["densify"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _integers(numbers: Any) -> tuple[int, ...]:
    return tuple(map(int, numbers))
