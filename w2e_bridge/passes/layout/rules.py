"""How single operators follow a permutation of their input's axes: the small functions behind the table.

An outward function says how the axes of the outputs are permuted where those of the input are, an inward
function the reverse, a remap what of the node changes, given the permutations of its input and of its
outputs. None: it doesn't follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from w2e_bridge.ir.parts import AnyArray
from w2e_bridge.passes.layout.permutations import Perm, containing, inverse, without
from w2e_bridge.passes.layout.site import Site, dims


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Change:
    """What becomes of a node whose values are permuted.

    Attributes:
        attributes: those that change; None takes one out.
        inputs: constants that take the place of inputs, by slot.
        gather: the output is a list of extents, to be put back into this order.
    """

    attributes: Mapping[str, int | list[int] | None] = field(default_factory=dict)
    inputs: Mapping[int, AnyArray] = field(default_factory=dict)
    gather: tuple[int, ...] | None = None


Carry = Callable[[Site, Perm], Perm | None]
Remap = Callable[[Site, Perm, Perm], Change | None]


def same(site: Site, perm: Perm) -> Perm | None:
    """The other side has the same axes."""
    del site
    return perm


def unchanged(site: Site, perm: Perm, after: Perm) -> Change | None:
    """Nothing of the node speaks of axes."""
    del site, perm, after
    return Change()


def axis(default: int | None) -> Remap:
    """An attribute `axis`."""

    def remap(site: Site, perm: Perm, after: Perm) -> Change | None:
        del after
        found = site.integer("axis", 0 if default is None else default)
        if default is None and "axis" not in site.node.attributes:
            return None
        found += len(perm) if found < 0 else 0
        return Change(attributes={"axis": inverse(perm)[found]})

    return remap


def last_axis(site: Site, perm: Perm, after: Perm) -> Change | None:
    """An axis that channels-last kernels want last: where it is last, it stays so."""
    del after
    rank = len(perm)
    own = site.integer("axis", -1) % rank
    where = inverse(perm)[own]
    if site.last and own == rank - 1 != where:
        return None
    return Change(attributes={"axis": where})


def axis_since_13(site: Site, perm: Perm, after: Perm) -> Change | None:
    """Softmax and its kin, which flattened their input to a matrix before version 13."""
    return last_axis(site, perm, after) if site.opset >= 13 else None


def axis_input(slot: int) -> Remap:
    """An input that is one axis."""

    def remap(site: Site, perm: Perm, after: Perm) -> Change | None:
        del after
        found = site.numbers(slot)
        if found is None or found.size != 1:
            return None
        where = inverse(perm)[int(found.reshape(())) % len(perm)]
        return Change(inputs={slot: np.full_like(found, where)})

    return remap


def scale_axis(site: Site, perm: Perm, after: Perm) -> Change | None:
    """QuantizeLinear, DequantizeLinear: the axis of scales that are more than one."""
    if site.integer("block_size", 0):
        return None
    return axis(1)(site, perm, after) if site.rank(1) else Change()


def _axes(site: Site) -> list[int] | None:
    """Axes of an attribute, or of input 1, from the front."""
    rank, listed = site.rank(0), site.integers("axes")
    if rank is None:
        return None
    if listed is not None:
        return [a % rank for a in listed]
    return site.axes(1) if site.input(1) is not None else []


def _with_axes(site: Site, axes: Iterable[int]) -> Change:
    new = sorted(axes)
    if "axes" in site.node.attributes:
        return Change(attributes={"axes": new})
    return Change(inputs={1: np.asarray(new, np.int64)})


def _reduced(site: Site) -> list[int] | None:
    axes, rank = _axes(site), site.rank(0)
    if axes or axes is None or rank is None or site.integer("noop_with_empty_axes", 0):
        return axes
    return list(range(rank))


def reduce_outward(site: Site, perm: Perm) -> Perm | None:
    """Reduced axes stay as 1, or vanish."""
    axes = _reduced(site)
    if axes is None:
        return None
    return perm if site.integer("keepdims", 1) else without(perm, axes)


def reduce_inward(site: Site, perm: Perm) -> Perm | None:
    """Where the reduced axes may have stood."""
    axes, rank = _reduced(site), site.rank(0)
    if axes is None or rank is None:
        return None
    return perm if site.integer("keepdims", 1) else containing(axes, perm, site.natural(rank))


def reduce_remap(site: Site, perm: Perm, after: Perm) -> Change | None:
    """Reduction over the same axes in their new places."""
    del after
    axes, where = _axes(site), inverse(perm)
    if axes is None:
        return None
    return _with_axes(site, (where[a] for a in axes)) if axes else Change()


def arg_outward(site: Site, perm: Perm) -> Perm | None:
    """ArgMax and ArgMin, of one axis."""
    gone = site.integer("axis", 0) % len(perm)
    return perm if site.integer("keepdims", 1) else without(perm, [gone])


def arg_inward(site: Site, perm: Perm) -> Perm | None:
    """Where the axis that is searched may have stood."""
    rank = site.rank(0)
    if rank is None or site.integer("keepdims", 1):
        return perm
    return containing([site.integer("axis", 0) % rank], perm, site.natural(rank))


def _squeezed(site: Site) -> list[int] | None:
    axes, shape = _axes(site), dims(site.input(0))
    if axes or axes is None or shape is None:
        return axes
    return [a for a, n in enumerate(shape) if n == 1] if None not in shape else None


def squeeze_outward(site: Site, perm: Perm) -> Perm | None:
    """Axes of extent 1 vanish."""
    axes = _squeezed(site)
    return None if axes is None else without(perm, axes)


def squeeze_inward(site: Site, perm: Perm) -> Perm | None:
    """Where they may have stood."""
    axes, rank = _squeezed(site), site.rank(0)
    if axes is None or rank is None:
        return None
    return containing(axes, perm, site.natural(rank))


def squeeze_remap(site: Site, perm: Perm, after: Perm) -> Change | None:
    """The same axes in their new places."""
    del after
    axes, where = _squeezed(site), inverse(perm)
    return None if axes is None else _with_axes(site, (where[a] for a in axes))


def _unsqueezed(site: Site) -> list[int] | None:
    rank, listed = site.output_rank, site.integers("axes")
    array = site.numbers(1)
    if rank is None or (listed is None and array is None):
        return None
    found = listed if listed is not None else [int(a) for a in np.reshape(array, -1)]  # type: ignore[arg-type]
    return [a % rank for a in found]


def unsqueeze_outward(site: Site, perm: Perm) -> Perm | None:
    """New axes of extent 1, where that order of axes would have them."""
    axes = _unsqueezed(site)
    if axes is None:
        return None
    rank = len(perm) + len(axes)
    natural = containing(axes, perm, site.natural(rank))
    if natural is not None:
        return natural
    old = iter([a for a in range(rank) if a not in axes][p] for p in perm)
    return tuple(a if a in axes else next(old) for a in range(rank))


def unsqueeze_inward(site: Site, perm: Perm) -> Perm | None:
    """Without the new axes."""
    axes = _unsqueezed(site)
    return None if axes is None else without(perm, axes)


def unsqueeze_remap(site: Site, perm: Perm, after: Perm) -> Change | None:
    """The new axes in their new places."""
    del perm
    axes = _unsqueezed(site)
    return None if axes is None else _with_axes(site, (after.index(a) for a in axes))


def slice_remap(site: Site, perm: Perm, after: Perm) -> Change | None:
    """Slice: the axes, which need not have been said."""
    del after
    where, starts = inverse(perm), dims(site.input(1))
    if starts is None:
        return None  # before version 10 the bounds were attributes
    if site.input(3) is None:
        count = starts[0] if starts else None
        axes = list(range(count)) if isinstance(count, int) else None
    else:
        axes = site.axes(3)
    if axes is None:
        return None
    return Change(inputs={3: np.asarray([where[a] for a in axes], np.int64)})


def pad_remap(site: Site, perm: Perm, after: Perm) -> Change | None:
    """Pad: the axes where they are said, else the order of the paddings."""
    del after
    where = inverse(perm)
    if site.input(3) is not None:
        axes = site.axes(3)
        if axes is None:
            return None
        return Change(inputs={3: np.asarray([where[a] for a in axes], np.int64)})
    pads = site.numbers(1)
    if pads is None or pads.size != 2 * len(perm):
        return None
    ends = pads.reshape(2, -1)[:, list(perm)]  # (begin and end, axes)
    return Change(inputs={1: np.ascontiguousarray(ends.reshape(-1))})


def listed_by_axis(site: Site, perm: Perm, after: Perm) -> Change | None:
    """Tile and Expand: an input with a number for each axis."""
    del after
    numbers = site.numbers(1)
    if numbers is None or numbers.size != len(perm) or site.output_rank != len(perm):
        return None
    return Change(inputs={1: numbers.reshape(-1)[list(perm)]})


def gather_outward(site: Site, perm: Perm) -> Perm | None:
    """The gathered axis becomes as many as the indices have."""
    count = site.rank(1)
    if count is None:
        return None
    at = site.integer("axis", 0) % len(perm)

    def spread(a: int) -> list[int]:
        if a == at:
            return list(range(at, at + count))
        return [a if a < at else a + count - 1]

    return tuple(b for a in perm for b in spread(a))


def gather_inward(site: Site, perm: Perm) -> Perm | None:
    """Of one index or none for each axis."""
    rank, count = site.rank(0), site.rank(1)
    if rank is None or count not in (0, 1):
        return None
    at = site.integer("axis", 0) % rank
    return perm if count else containing([at], perm, site.natural(rank))


def shape_remap(site: Site, perm: Perm, after: Perm) -> Change | None:
    """Shape: the extents put back into the order that they had."""
    del after
    rank = len(perm)
    start, end = site.integer("start", 0), site.integer("end", rank)
    start, end = (max(0, min(rank, n + rank if n < 0 else n)) for n in (start, end))
    return Change(attributes={"start": None, "end": None}, gather=inverse(perm)[start:end])


def last_stays(site: Site, perm: Perm) -> Perm | None:
    """Operators of rows: all axes but the last are alike to them."""
    del site
    return perm if perm[-1] == len(perm) - 1 else None


def normalization_outward(site: Site, perm: Perm) -> Perm | None:
    """Normalization over the last axis alone."""
    only = site.integer("axis", -1) % len(perm) == len(perm) - 1
    return last_stays(site, perm) if only else None


def matmul_outward(site: Site, perm: Perm) -> Perm | None:
    """MatMul by one matrix."""
    return last_stays(site, perm) if site.rank(1) == 2 and len(perm) > 2 else None
