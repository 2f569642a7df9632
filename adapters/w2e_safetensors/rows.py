"""Which rows of a part are written with which rows of its tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from w2e_bridge.errors import DefectError
from w2e_bridge.ir.parts import AnyArray, Parts
from w2e_safetensors.pack import packed
from w2e_safetensors.parts import OFFSET, SCALE, SIGNS, Part


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """The rows of a part, each stored once although `Parts` repeats it for every row of the tensor.

    Attributes:
        part: the part.
        first: for each of its rows the tensor's first row that has it, ascending; None where every row of
            the tensor has its own.
    """

    part: Part
    first: NDArray[np.int64] | None

    @classmethod
    def of(cls, part: Part, others: Mapping[str, Rows]) -> Rows:
        """The rows of a part; those of what it belongs to are among the others."""
        above = others.get(_owner(part.path))
        inner = above.first if above is not None else None
        if part.lead == part.leading:
            return cls(part=part, first=inner)
        place = np.unravel_index(np.arange(part.rows), part.lead) if part.lead else ()
        start = [at * extent for at, extent in zip(place, part.extents, strict=True)]
        own = np.asarray(np.ravel_multi_index(start, part.leading), np.int64)
        return cls(part=part, first=own if inner is None else inner[own])

    def packed(self, parts: Parts, start: int, stop: int) -> tuple[int, AnyArray]:
        """The rows that begin within rows [start, stop) of the tensor: number of the first, packed bytes."""
        codes = self._codes(parts)
        if self.first is None:
            whole = np.broadcast_to(codes, (stop - start, codes.shape[1]))
            return start, packed(whole, self.part)
        low, high = (int(n) for n in np.searchsorted(self.first, (start, stop)))
        index = self.first[low:high] - start
        own = codes[index] if codes.shape[0] > 1 else np.repeat(codes, high - low, axis=0)
        return low, packed(own, self.part)

    def _codes(self, parts: Parts) -> AnyArray:
        found: Parts | None = parts
        path = self.part.path.removesuffix(SIGNS)
        while path and found is not None:
            found = found.scale if path.startswith(SCALE) else found.offset
            path = path.removeprefix(SCALE if path.startswith(SCALE) else OFFSET)
        codes = None if found is None else found.codes
        if found is not None and self.part.path.endswith(SIGNS):
            codes = found.signs
        if codes is None or codes.shape[1] != self.part.columns:
            shape = None if codes is None else codes.shape
            raise DefectError(
                f"internal defect, please report: part '{self.part.path}' has shape {shape}, not "
                f"{self.part.columns} columns"
            )
        return codes


def _owner(path: str) -> str:
    """The path of what a part belongs to: of signs the codes, of `x.scale` x."""
    return path.rpartition(".")[0]
