"""Reshape under a permutation: it follows where it splits or merges axes that stay together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from w2e_bridge.passes.layout.permutations import Perm, inverse
from w2e_bridge.passes.layout.rules import Change
from w2e_bridge.passes.layout.site import Dim, Site, dims


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Axes of the input that become axes of the output, as many elements each."""

    before: tuple[int, ...]
    after: tuple[int, ...]


def groups(before: Sequence[Dim], after: Sequence[Dim]) -> list[Group] | None:
    """The smallest groups of a reshape; None where unknown extents leave it open."""
    head = list(_walk(before, after))
    i = head[-1].before[-1] + 1 if head and head[-1].before else _end(head, before=True)
    j = _end(head, before=False)
    if i == len(before) and j == len(after):
        return head
    rest = list(_walk(before[i:][::-1], after[j:][::-1]))
    tail = [_turned(group, len(before), len(after)) for group in reversed(rest)]
    stop, end = len(before) - _end(rest, before=True), len(after) - _end(rest, before=False)
    middle = Group(before=tuple(range(i, stop)), after=tuple(range(j, end)))
    if not middle.before or not middle.after:
        return None
    return [*head, middle, *tail]


def _end(found: Sequence[Group], *, before: bool) -> int:
    return sum(len(group.before if before else group.after) for group in found)


def _turned(group: Group, before: int, after: int) -> Group:
    return Group(
        before=tuple(before - 1 - a for a in reversed(group.before)),
        after=tuple(after - 1 - a for a in reversed(group.after)),
    )


def _walk(before: Sequence[Dim], after: Sequence[Dim]) -> Iterator[Group]:
    """Groups from the front, as far as extents are known."""
    i = j = 0
    while i < len(before) or j < len(after):
        a = before[i] if i < len(before) else None
        b = after[j] if j < len(after) else None
        if a is not None and a == b:
            step = (1, 1)
        elif a == 1:
            step = (1, 0)
        elif b == 1:
            step = (0, 1)
        else:
            step = _meet(before[i:], after[j:])
        if not any(step):
            return
        yield Group(before=tuple(range(i, i + step[0])), after=tuple(range(j, j + step[1])))
        i, j = i + step[0], j + step[1]


def _meet(before: Sequence[Dim], after: Sequence[Dim]) -> tuple[int, int]:
    """How many axes on each side have equally many elements; (0, 0) where that isn't known."""
    counts, sizes = [0, 0], [1, 1]
    sides = (before, after)
    while not counts[0] or not counts[1] or sizes[0] != sizes[1]:
        side = 0 if sizes[0] <= sizes[1] else 1
        if not counts[side] or counts[side] < len(sides[side]):
            extent = sides[side][counts[side]] if counts[side] < len(sides[side]) else None
        else:
            return 0, 0
        if not isinstance(extent, int) or extent < 1:
            return 0, 0
        sizes[side] *= extent
        counts[side] += 1
    return counts[0], counts[1]


def _extents(site: Site) -> tuple[tuple[Dim, ...], tuple[Dim, ...]] | None:
    before, after = dims(site.input(0)), dims(site.node.outputs[0])
    shape = site.numbers(1)
    if before is None or shape is None or site.integer("allowzero", 0):
        return None
    wanted: list[Dim] = []
    for j, n in enumerate(int(n) for n in shape.reshape(-1)):
        known = after[j] if after is not None and len(after) == shape.size else None
        copied = before[j] if n == 0 and j < len(before) else None
        wanted.append(n if n > 0 else copied if copied is not None else known)
    return before, tuple(wanted)


def _carried(found: Sequence[Group], perm: Perm) -> list[Group] | None:
    """The groups in the order that a permutation of the input puts them into."""
    place = inverse(perm)
    keys: list[tuple[int, Group]] = []
    last = -1
    for group in found:
        where = [place[a] for a in group.before]
        if any(b != a + 1 for a, b in pairwise(where)):
            return None
        last = where[0] if where else last
        keys.append((last, group))
    return [group for _, group in sorted(keys, key=lambda item: item[0])]


def _order(found: Sequence[Group] | None, perm: Perm) -> Perm | None:
    moved = None if found is None else _carried(found, perm)
    return None if moved is None else tuple(a for group in moved for a in group.after)


def _found(site: Site, *, inward: bool = False) -> list[Group] | None:
    extents = _extents(site)
    found = None if extents is None else groups(*extents)
    if found is None or not inward:
        return found
    return [Group(before=group.after, after=group.before) for group in found]


def reshape_outward(site: Site, perm: Perm) -> Perm | None:
    """The groups move as a whole; axes of extent 1 stand where it is natural."""
    found = _order(_found(site), perm)
    natural = () if found is None else site.natural(len(found))
    return next((order for order in natural if reshape_inward(site, order) == perm), found)


def reshape_inward(site: Site, perm: Perm) -> Perm | None:
    """The same, seen from the output."""
    return _order(_found(site, inward=True), perm)


def reshape_remap(site: Site, perm: Perm, after: Perm) -> Change | None:
    """The wanted shape in the new order."""
    extents = _extents(site)
    if extents is None:
        return None
    before, wanted = extents
    shape: list[int] = []
    for k, axis in enumerate(after):
        extent = wanted[axis]
        copied = k < len(perm) and extent is not None and before[perm[k]] == extent
        shape.append(extent if isinstance(extent, int) else 0 if copied else -1)
    return Change(inputs={1: np.asarray(shape, np.int64)}) if shape.count(-1) < 2 else None
