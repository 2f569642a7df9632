"""Quantization of values as integer kernels want it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import is_weight, name_of
from w2e_bridge.graph.serialize import in_order
from w2e_bridge.ir.activation import ActivationMode, ActivationQuantization, Granularity
from w2e_bridge.ir.codes import Integer
from w2e_bridge.ir.model import Model
from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.kernels.cover import cover
from w2e_bridge.kernels.operation import Operand, Operation
from w2e_bridge.kernels.scope import Scope
from w2e_bridge.loss import Grade, TensorLoss
from w2e_bridge.passes.base import Pass, PassResult, owned
from w2e_bridge.passes.layout.scopes import equal
from w2e_bridge.passes.layout.shapes import infer_shapes
from w2e_bridge.passes.legalize.biases import as_reals, fitted
from w2e_bridge.passes.legalize.constraints import (
    CHANGES,
    CONSTRAINTS,
    FIXED_VALUES,
    LITERT,
    Constraint,
    Rule,
)
from w2e_bridge.passes.legalize.encodings import (
    Scales,
    along_last,
    as_value,
    centred,
    is_byte,
    scales_of,
    shifted,
)
from w2e_bridge.passes.legalize.grids import holds, near, passes, wide
from w2e_bridge.passes.legalize.operands import as_codes, computed, operands, put
from w2e_bridge.passes.legalize.signs import unify
from w2e_bridge.passes.legalize.wiring import Quantization, Wiring


class SatisfyConstraints(Pass):
    """Quantization that the integer kernels of a channels-last runtime accept and compute right with.

    before: a graph in channels-last normal form, each value quantized as its source has it.
    after: every operation has either integers on all sides, of one type and with the quantization that
        its row of `CONSTRAINTS` asks for, or real numbers on all sides. Where two differ, an Identity
        stands between them; values that are only moved have the quantization of what they are moved
        from. Constants that a kernel wants in another form are made anew and graded.
    why exact: moving codes and rounding them commute; codes with and without a sign are the same
        integers. Where a kernel has a quantization of its own, its result is rounded once more, which
        the source's runtime would do in one step: that is what the constraint costs.
    """

    def run(self, model: Model) -> PassResult:
        """Look at every operation of every graph."""
        work = owned(model)
        if work.graph is None or not model.activations or model.numerics in LITERT:
            return PassResult(model=model)
        editor = Editor(model=work.graph, tensors=dict(model.tensors))
        activations = dict(model.activations)
        infer_shapes(work.graph, editor.tensors)
        unify(editor, activations)
        losses: list[TensorLoss] = []
        for graph in list(work.graph.graphs()):
            wiring = Wiring(graph=graph, editor=editor, activations=activations)
            losses += _Satisfier(wiring=wiring).run()
        work.graph.graph.sort()
        tensors = in_order(work.graph, editor.tensors)
        after = replace(work, tensors=tensors, activations=activations)
        return PassResult(model=after, losses=tuple(losses))


@dataclass(slots=True, kw_only=True)
class _Satisfier:
    """Looks at the operations of one graph.

    Attributes:
        wiring: edits it.
        losses: of constants that were made anew.
    """

    wiring: Wiring
    losses: list[TensorLoss] = field(default_factory=list)

    def run(self) -> list[TensorLoss]:
        """From the end to the start, so that quantization moves up; then from the start to the end."""
        tensors, values = self.wiring.editor.tensors, self.wiring.activations
        steps = cover(self.wiring.graph, Scope(tensors=tensors, values=values))
        operations = [step for step in steps if isinstance(step, Operation)]
        for operation in reversed(operations):
            self._raise(operation)
        for operation in operations:
            self._satisfy(replace(operation, inputs=self.wiring.now(operation.inputs)))
        return self.losses

    def _raise(self, operation: Operation) -> None:
        """What is rounded behind a move may be rounded before it."""
        row = CONSTRAINTS.get(operation.kind)
        if row is None or row.rule is not Rule.MOVE or len(operation.outputs) != 1:
            return
        wanted = self.wiring.quantization(operation.outputs[0])
        (value,) = computed(operation, row)[:1] or (None,)
        if value is None or wanted is None or self.wiring.quantization(value) is not None:
            return
        if self.wiring.fixed(value) or value.producer() is None or not _usable(wanted, row):
            return
        if {user for user, _ in value.uses()} <= set(operation.nodes):
            self.wiring.give(value, wanted)

    def _satisfy(self, operation: Operation) -> None:
        row = CONSTRAINTS.get(operation.kind)
        if operation.kind in CHANGES | FIXED_VALUES:
            return
        read = computed(operation, row)
        made = [value for value in operation.outputs if self._real(value)]
        known = [self.wiring.quantization(value) for value in (*read, *made)]
        if any(q is not None and q.mode is not ActivationMode.STATIC for q in known):
            self._rounds_by_itself(operation)
            return
        if not any(known):
            return
        if row is not None:
            self._move(operation, row, read, made)
            q = self.wiring.quantization
            known = [q(value) for value in (*made, *read)]
            if known and known[0] is not None and None not in known:
                operation = as_codes(operation, row, self.wiring.editor, known[0])
            read = computed(operation, row)
        if row is None or not self._integers(operation, row, made):
            self._floats(operation, read, made)
        else:
            self._obey(operation, row, made)

    def _rounds_by_itself(self, operation: Operation) -> None:
        """DEPTHWISE_CONV_2D of floats reads a scale for each channel, even where there is one.

        (tensorflow/lite/kernels/depthwise_conv.cc, EvalHybridPerChannel: what lies behind the one is read.)
        """
        weights, held = operation.input(1), self._tensor(operation, 1)
        if operation.kind != "depthwise_conv_2d" or held is None:
            return
        found = _weights(held, CONSTRAINTS[operation.kind], signed=True)
        scales = None if found is None else scales_of(found)
        if found is None or scales is None or scales.axis is not None:
            return
        if isinstance(weights, ir.Value):
            put(operation, weights, along_last(found), self.wiring.editor)

    def _real(self, value: ir.Value) -> bool:
        known = self.wiring.quantization(value) is not None
        return known or value.dtype in (None, ir.DataType.FLOAT)

    def _move(
        self, operation: Operation, row: Constraint, read: list[ir.Value], made: list[ir.Value]
    ) -> None:
        """Where one side of a move is quantized, the other is."""
        if row.rule not in (Rule.MOVE, Rule.JOIN) or not read or not made:
            return
        q = self.wiring.quantization
        first, after = q(read[0]), q(made[0])
        constant = len(read) < len(operands(operation, row))
        if after is None and first is not None and not constant:
            if all(_alike(q(value), first) for value in read) and _usable(first, row):
                for value in made:
                    self._give(value, first)
        elif after is not None and _usable(after, row) and all(_alike(q(v), after) for v in made):
            for value in read:
                if q(value) is None:
                    self.wiring.read(operation.nodes, value, after)

    def _give(self, value: ir.Value, wanted: ActivationQuantization) -> None:
        if self.wiring.fixed(value):
            self.wiring.make(value, wanted)
        else:
            self.wiring.give(value, wanted)

    def _integers(self, operation: Operation, row: Constraint, made: list[ir.Value]) -> bool:
        """Whether an integer kernel can take it."""
        q = self.wiring.quantization
        found = [self._of(operand) for operand in operands(operation, row)]
        found += [q(value) for value in operation.outputs if value in made]
        types = {str(p.codes) for p in found if p is not None}
        if len(types) != 1 or not all(p is not None and _usable(p, row) for p in found):
            return False
        if row.rule is Rule.WEIGHTS:
            return self._product(operation, row)
        return self._precise(operation, row, made)

    def _precise(self, operation: Operation, row: Constraint, made: list[ir.Value]) -> bool:
        """Whether what is rounded on the kernel's way is within a step of what is asked for."""
        wanted = [q for value in made if (q := self.wiring.quantization(value)) is not None]
        given = operands(operation, row)
        if row.rule is Rule.FIXED:
            kernel = [(_fixed(row, to), to) for to in wanted if str(to.codes) in row.fixed]
            fits = [passes(own, to, bounded=row.bounded) for own, to in kernel]
            return len(kernel) == len(wanted) and all(fits)
        first = self._of(given[0]) if given else None
        if row.rule is not Rule.SAME or first is None:
            return True
        widened = row.widens and str(first.codes) == "int8"
        return widened or all(near(first, to) for to in wanted)

    def _of(self, value: ir.Value) -> Quantization:
        """The quantization of an operand as its kernel reads it."""
        if not is_weight(value):
            return self.wiring.quantization(value)
        tensor = self.wiring.editor.tensors.get(name_of(value))
        return None if tensor is None else as_value(tensor)

    def _product(self, operation: Operation, row: Constraint) -> bool:
        """Make weights and bias as the kernel wants them; whether that can be."""
        assert row.weights is not None
        assert row.bias is not None
        weights, held = operation.input(row.weights), self._tensor(operation, row.weights)
        q = self.wiring.quantization(computed(operation, row)[0])
        if held is None or q is None or not isinstance(weights, ir.Value):
            return False
        found = _weights(held, row, signed=not is_byte(q.codes, signed=False))
        scales = None if found is None else scales_of(found)
        if found is None or scales is None:
            return False
        if not self._bias(operation, row.bias, q, scales):
            return False
        if found is not held:
            put(operation, weights, found, self.wiring.editor)
        return True

    def _bias(
        self, operation: Operation, index: int, q: ActivationQuantization, scales: Scales
    ) -> bool:
        bias = operation.input(index)
        if bias is None:
            return True
        tensor = self._tensor(operation, index)
        fit = None if tensor is None else fitted(tensor, q, scales)
        if fit is None or not isinstance(bias, ir.Value):
            return False
        if fit.loss is not None and fit.loss.grade is not Grade.EXACT:
            self.losses.append(fit.loss)
        if fit.tensor is not tensor:
            put(operation, bias, fit.tensor, self.wiring.editor)
        return True

    def _tensor(self, operation: Operation, index: int) -> Tensor | None:
        return self._held(operation.input(index))

    def _held(self, value: Operand) -> Tensor | None:
        if not isinstance(value, ir.Value) or not is_weight(value):
            return None
        return self.wiring.editor.tensors.get(name_of(value))

    def _floats(self, operation: Operation, read: list[ir.Value], made: list[ir.Value]) -> None:
        """Real numbers on all sides."""
        for value in dict.fromkeys(read):
            if self.wiring.quantization(value) is not None:
                self.wiring.read(operation.nodes, value, None)
        for value in made:
            if self.wiring.quantization(value) is not None:
                self.wiring.make(value, None)
        for operand in operation.inputs:
            tensor = self._held(operand)
            real = None if tensor is None else as_reals(tensor)
            if real is not None and isinstance(operand, ir.Value):
                self.losses.append(real.loss)
                put(operation, operand, real.tensor, self.wiring.editor)

    def _obey(self, operation: Operation, row: Constraint, made: list[ir.Value]) -> None:
        """Identities where the kernel's quantization is another."""
        q = self.wiring.quantization
        if row.rule is Rule.FIXED:
            for value in made:
                own = q(value)
                wanted = None if own is None else _fixed(row, own)
                if not _alike(wanted, own):
                    self.wiring.make(value, wanted)
        given = operands(operation, row)
        if row.rule not in (Rule.MOVE, Rule.JOIN, Rule.SAME) or not given or not made:
            return
        read, make = self._sides(row, self._of(given[0]), q(made[0]))
        for value in dict.fromkeys(given):
            if read is not None and not _alike(self._of(value), read):
                self.wiring.read(operation.nodes, value, read)
        for value in made:
            if make is not None and not _alike(q(value), make):
                self.wiring.make(value, make)

    def _sides(
        self, row: Constraint, first: Quantization, last: Quantization
    ) -> tuple[Quantization, Quantization]:
        """What is read and what is made; None where that stays as it is."""
        if row.rule is Rule.JOIN:
            return last, None
        if row.rule is Rule.MOVE or first is None or last is None:
            return None, first
        if holds(last, first):
            return last, None
        return (None, first) if near(first, last) else (wide(first), wide(first))


def _weights(tensor: Tensor, row: Constraint, *, signed: bool) -> Tensor | None:
    """Weights without zero points on signed kernels, of one scale on unsigned ones; None elsewhere."""
    if is_byte(tensor.encoding.codes, signed=not signed):
        tensor = shifted(tensor, signed=signed)
    codes, scales = tensor.encoding.codes, scales_of(tensor)
    if scales is None or not isinstance(codes, Integer) or codes.bits > 8:
        return None
    if not signed:
        return tensor if is_byte(codes, signed=False) and scales.axis is None else None
    axis = row.axis % len(tensor.shape)
    if not codes.signed or scales.axis not in (None, axis):
        return None
    return centred(tensor)


def _usable(q: ActivationQuantization, row: Constraint) -> bool:
    """Whether integer kernels of a kind compute with such codes."""
    codes = str(q.codes)
    plain = q.granularity is Granularity.TENSOR and q.scale is not None and q.second_level is None
    centred = q.zero_point is None or not q.zero_point.any()
    fits = centred or not (row.centred or codes == "int16")
    return plain and fits and codes in row.types


def _alike(a: Quantization, b: Quantization) -> bool:
    return a is b or (a is not None and b is not None and equal(a, b))


def _fixed(row: Constraint, q: ActivationQuantization) -> ActivationQuantization:
    scale, zero = row.fixed[str(q.codes)]
    return replace(
        q,
        scale=np.asarray(scale, np.float32),
        zero_point=np.asarray(zero, np.int64) if zero else None,
    )
