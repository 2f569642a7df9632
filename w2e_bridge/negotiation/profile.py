"""A target described as data: the weight forms it has, and what each of them can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from w2e_bridge.ir.codes import Float, Integer
from w2e_bridge.ir.encoding import FLOAT32, WHOLE, Encoding, OffsetKind


class Role(Enum):
    """How a graph uses a tensor.

    MATMUL: second operand of a matrix product, stored (out, in).
    EMBEDDING: rows are gathered. CONV: weights of a convolution. EXPERT: stacked matrices of experts.
    BIAS: added along the last axis. OTHER: anything else; read as plain numbers.
    """

    MATMUL = "matmul"
    EMBEDDING = "embedding"
    CONV = "conv"
    EXPERT = "expert"
    BIAS = "bias"
    OTHER = "other"


class OffsetForm(Enum):
    """Offsets as a form stores them.

    NONE: symmetric. ZERO_POINT: an integer zero point of the code's type, one for all or one for every
    block. STORED: likewise, always written out for every block.
    BIAS: a number of the scale's type added after scaling.
    """

    NONE = "none"
    ZERO_POINT = "zero_point"
    STORED = "stored"
    BIAS = "bias"


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """One way in which a target can hold a tensor: a row of a profile.

    Attributes:
        name: the target's own word: "MatMulNBits 4".
        roles: tensors of which roles it can hold.
        codes: the code type it stores.
        blocks: permitted extents of a block along the last axis, largest first; `(0,)` = one scale a
            row; `()` = any extent; ignored for plain codes.
        scale: how it stores scales; None = plain numbers without scale.
        offset: how it stores offsets.
        overhead: further bits a weight that this form costs beyond the encoding's own.
        cost: time a weight, relative, to decide between forms of equal size.
        activations: under which of the request's activation modes the form may be used.
        layout: name of the `ir.layout.Layout` that it stores byte for byte, where that is its meaning
            (GGUF types); a source in the same layout is copied.
        encoding: the one encoding that it holds, as it is; then the fields from `codes` on are moot.
        anything: holds every encoding as it is (the canonical file).
        by_values: codes of so many bits and more (biases: sums of products) are held by their values,
            which is what they are in this target; 0 = no.
        positive: whether its scales have to be above 0.
        requantize: whether new codes may be made for it, where no exact way leads to it and the user
            accepts that: symmetric, in its blocks or one scale for each index of the first axis.
        per_tensor: one scale for a whole tensor.
        complete: whether float weights of products and convolutions become codes of it where the rest of
            the model is quantized and the user accepts new codes.
        numerics: for models whose rounding is one of these only, and then such forms only; empty = any.
        dtype: for tensors that are computed with as this type only; empty = any.
        asked: under which values of the option `weights`, which the profile has a default of, the form may
            be used; empty = any.
        tables: whether look-up tables become its codes, where those are small floats.
        weight_only: whether it is for models without static quantization of activations only.
        whole_blocks: whether its blocks have to lie along one axis and to fill it, none of them short.
    """

    name: str
    roles: frozenset[Role]
    codes: Integer | Float | None = None
    blocks: tuple[int, ...] = ()
    scale: Encoding | None = FLOAT32
    offset: OffsetForm = OffsetForm.NONE
    overhead: float = 0.0
    cost: float = 1.0
    activations: frozenset[str] = frozenset({"int8", "float"})
    layout: str | None = None
    encoding: Encoding | None = None
    anything: bool = False
    by_values: int = 0
    positive: bool = False
    requantize: bool = False
    per_tensor: bool = False
    complete: bool = False
    numerics: frozenset[str] = frozenset()
    dtype: str = ""
    asked: frozenset[str] = frozenset()
    tables: bool = False
    whole_blocks: bool = False
    weight_only: bool = False

    @property
    def plain(self) -> bool:
        """Whether it holds numbers without scale."""
        return self.scale is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A target, as data.

    Attributes:
        name: "ort-cpu".
        title: for people.
        forms: what it can hold; negotiation takes the cheapest that fits at the best grade.
        needs_graph: whether a model without a graph must get one first.
        opset: of the ONNX standard domain, where the target is ONNX.
        layout: which passes bring images into the target's layout: "NCHW", "NHWC", or "" where the model
            stays as it comes.
        built: which passes a model gets whose graph is made from its architecture, or "" where none but that
            are needed.
        channels_last: numerics whose integer kernels the target computes on channels-last values.
        options: defaults of the target's options under this profile.
    """

    name: str
    title: str
    forms: tuple[Form, ...]
    needs_graph: bool = True
    opset: int = 23
    layout: str = ""
    built: str = ""
    channels_last: frozenset[str] = frozenset()
    options: Mapping[str, str] = field(default_factory=dict)


def fills(encoding: Encoding, shape: tuple[int, ...]) -> bool:
    """Whether the blocks of an encoding fill the axes of a shape, none of them short."""
    extents = (encoding.block or ())[-len(shape) :] if shape else ()
    axes = zip(reversed(extents), reversed(shape), strict=False)
    return all(extent == WHOLE or size % extent == 0 for extent, size in axes)


def stored_bits(form: Form, target: Encoding, columns: int) -> float:
    """Bits a weight that a form takes for an encoding, with the form's own overhead."""
    return target.bits_per_weight(max(1, columns)) + form.overhead


KINDS: Mapping[OffsetForm, OffsetKind | None] = {
    OffsetForm.NONE: None,
    OffsetForm.ZERO_POINT: OffsetKind.ZERO_POINT,
    OffsetForm.STORED: OffsetKind.ZERO_POINT,
    OffsetForm.BIAS: OffsetKind.BIAS,
}
"""How a form's offsets read as the offset of an encoding."""
