"""One step of recurrent cells: onnx/onnx docs/Operators.md, LSTM, GRU, RNN."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, Self

import numpy as np
import onnx_ir as ir

from w2e_bridge.ir.parts import AnyArray
from w2e_bridge.passes.legalize.place import Place


class Maker(Protocol):
    """Where the nodes of a step go: before a node, or into the body of a Loop."""

    def add(
        self,
        op: str,
        *inputs: ir.Value | None,
        attributes: Mapping[str, object] | None = None,
        domain: str = "",
    ) -> ir.Value:
        """A node; its output."""

    def many(
        self,
        op: str,
        inputs: Sequence[ir.Value | None],
        attributes: Mapping[str, object],
        count: int,
        domain: str = "",
    ) -> tuple[ir.Value, ...]:
        """A node of several outputs."""


Activation = Callable[[Maker, ir.Value], ir.Value]
Matrix = Callable[[int, int], ir.Value]
"""(first row, rows) of the matrix of the state, turned."""


def _one(op: str) -> Activation:
    return lambda maker, x: maker.add(op, x)


_ACTIVATIONS: Mapping[str, Activation] = {
    name.lower(): _one(name)
    for name in (
        "Sigmoid",
        "Tanh",
        "Relu",
        "Softsign",
        "Softplus",
        "HardSigmoid",
        "LeakyRelu",
        "Elu",
    )
}


def activation(name: str) -> Activation | None:
    """An activation by its name, which the standard writes in any case."""
    return _ACTIVATIONS.get(name.lower())


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell with its numbers.

    Attributes:
        bias: what is added to the inputs' products, a number for each row of the gates.
        act: activations in the standard's order.
        clip: bounds of what activations are given, or None.
        hidden: size of the state.
        factors: matrices of the state.
        extra: vectors: peepholes, or the bias behind the reset of a GRU.
        flag: `input_forget` of an LSTM, `linear_before_reset` of a GRU.
        one: the number 1.
    """

    gates: ClassVar[int] = 1
    states: ClassVar[int] = 1
    activations: ClassVar[tuple[str, ...]] = ("Tanh",)

    bias: AnyArray
    act: Sequence[Activation]
    clip: tuple[ir.Value, ir.Value] | None
    hidden: int
    factors: Sequence[ir.Value]
    extra: Sequence[ir.Value]
    flag: bool
    one: ir.Value

    @classmethod
    def make(
        cls,
        *,
        place: Place,
        bias: AnyArray,
        matrix: Matrix,
        names: Sequence[str],
        peepholes: Sequence[ir.Value] | None,
    ) -> Self:
        """A cell of a layer.

        Args:
            place: the layer.
            bias: of the inputs, then of the state, (2 · gates · hidden,).
            matrix: gives rows of the matrix of the state.
            names: of the activations.
            peepholes: their vectors, or None.
        """
        hidden, bound = place.integer("hidden_size"), place.number("clip", 0.0)
        found = [activation(name) for name in names]
        clip = None
        if bound:
            clip = (place.constant(np.float32(-bound)), place.constant(np.float32(bound)))
        added, factors, extra, flag = cls.parts(place, bias, matrix)
        return cls(
            bias=added.astype(np.float32),
            act=[one for one in found if one is not None],
            clip=clip,
            hidden=hidden,
            factors=factors,
            extra=[*extra, *(peepholes or ())],
            flag=flag,
            one=place.constant(np.float32(1)),
        )

    @classmethod
    def parts(
        cls, place: Place, bias: AnyArray, matrix: Matrix
    ) -> tuple[AnyArray, list[ir.Value], list[ir.Value], bool]:
        """The bias of the inputs, matrices, vectors and the flag."""
        rows = cls.gates * place.integer("hidden_size")
        return bias[:rows] + bias[rows:], [matrix(0, rows)], [], bool(place.integer("input_forget"))

    def step(self, maker: Maker, x: ir.Value, states: Sequence[ir.Value]) -> Sequence[ir.Value]:
        """The states after one time.

        Args:
            maker: takes the nodes.
            x: the inputs' products with their bias, (batch, gates · hidden).
            states: before, (batch, hidden).
        """
        total = maker.add("Add", x, maker.add("MatMul", states[0], self.factors[0]))
        return (self.acted(maker, 0, total),)

    def acted(self, maker: Maker, index: int, x: ir.Value) -> ir.Value:
        """An activation, of clipped numbers where the layer clips."""
        if self.clip is not None:
            x = maker.add("Clip", x, *self.clip)
        return self.act[index](maker, x)

    def split(self, maker: Maker, x: ir.Value, count: int) -> tuple[ir.Value, ...]:
        """Equal parts of the last axis."""
        return maker.many("Split", [x], {"axis": 1, "num_outputs": count}, count)


class Lstm(Cell):
    """Gates i, o, f, c; states h, c."""

    __slots__ = ()
    gates: ClassVar[int] = 4
    states: ClassVar[int] = 2
    activations: ClassVar[tuple[str, ...]] = ("Sigmoid", "Tanh", "Tanh")

    def step(self, maker: Maker, x: ir.Value, states: Sequence[ir.Value]) -> Sequence[ir.Value]:
        """The states after one time."""
        h, c = states
        total = maker.add("Add", x, maker.add("MatMul", h, self.factors[0]))
        i, o, f, g = self.split(maker, total, 4)
        if self.extra:  # peepholes i, o, f
            i = maker.add("Add", i, maker.add("Mul", self.extra[0], c))
            f = maker.add("Add", f, maker.add("Mul", self.extra[2], c))
        i = self.acted(maker, 0, i)
        f = maker.add("Sub", self.one, i) if self.flag else self.acted(maker, 0, f)
        g = self.acted(maker, 1, g)
        c = maker.add("Add", maker.add("Mul", f, c), maker.add("Mul", i, g))
        if self.extra:
            o = maker.add("Add", o, maker.add("Mul", self.extra[1], c))
        o = self.acted(maker, 0, o)
        return maker.add("Mul", o, self.act[2](maker, c)), c


class Gru(Cell):
    """Gates z, r, h; state h."""

    __slots__ = ()
    gates: ClassVar[int] = 3
    activations: ClassVar[tuple[str, ...]] = ("Sigmoid", "Tanh")

    @classmethod
    def parts(
        cls, place: Place, bias: AnyArray, matrix: Matrix
    ) -> tuple[AnyArray, list[ir.Value], list[ir.Value], bool]:
        """With `linear_before_reset` the state's bias of the last gate stands behind the reset."""
        hidden, rows = place.integer("hidden_size"), 3 * place.integer("hidden_size")
        linear = bool(place.integer("linear_before_reset"))
        added = bias[:rows] + bias[rows:]
        extra = []
        if linear:
            added[2 * hidden :] = bias[2 * hidden : rows]
            extra = [place.constant(bias[rows + 2 * hidden :].astype(np.float32))]
        return added, [matrix(0, 2 * hidden), matrix(2 * hidden, hidden)], extra, linear

    def step(self, maker: Maker, x: ir.Value, states: Sequence[ir.Value]) -> Sequence[ir.Value]:
        """The state after one time."""
        (h,) = states
        xz, xr, xh = self.split(maker, x, 3)
        z, r = self.split(maker, maker.add("MatMul", h, self.factors[0]), 2)
        z = self.acted(maker, 0, maker.add("Add", xz, z))
        r = self.acted(maker, 0, maker.add("Add", xr, r))
        if self.flag:
            own = maker.add("Add", maker.add("MatMul", h, self.factors[1]), self.extra[0])
            own = maker.add("Mul", r, own)
        else:
            own = maker.add("MatMul", maker.add("Mul", r, h), self.factors[1])
        new = self.acted(maker, 1, maker.add("Add", xh, own))
        kept = maker.add("Mul", z, h)
        return (maker.add("Add", maker.add("Mul", maker.add("Sub", self.one, z), new), kept),)


CELLS: Mapping[str, type[Cell]] = {"LSTM": Lstm, "GRU": Gru, "RNN": Cell}
"""Operators to their cells."""
