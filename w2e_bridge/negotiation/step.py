"""One exact rewrite of an encoding, and the answer that there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from w2e_bridge.ir.encoding import Encoding
from w2e_bridge.ir.parts import Parts
from w2e_bridge.negotiation.profile import Form


class Unreachable(Exception):  # noqa: N818 - an answer, not an error
    """The form can't say this encoding; `str()` is the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One rewrite.

    Attributes:
        name: for the report.
        after: the encoding that results.
        apply: the arrays of some rows before to those after.
        holds: whether it is exact for the arrays of some rows; None where it is for all there can be.
    """

    name: str
    after: Encoding
    apply: Callable[[Parts], Parts]
    holds: Callable[[Parts], bool] | None = None


Rewrite = Callable[[Encoding, Form], Step | None]


def signed_bits(low: int, high: int) -> int:
    """Bits of the narrowest signed codes that hold a range."""
    return max((-low - 1).bit_length() if low < 0 else 0, high.bit_length()) + 1
