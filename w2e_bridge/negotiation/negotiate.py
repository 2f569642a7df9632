"""The one negotiation: each tensor to the cheapest form of the target at the best grade.

Planning looks at types only. The result's tensors are computations over the source's chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.formats.spec import Request
from w2e_bridge.ir.activation import ActivationMode
from w2e_bridge.ir.codes import Float, Integer
from w2e_bridge.ir.encoding import BFLOAT16, FLOAT16, FLOAT32, Encoding
from w2e_bridge.ir.model import Model
from w2e_bridge.ir.parts import Parts, decode
from w2e_bridge.ir.tensor import ComputedStorage, Tensor
from w2e_bridge.loss import Grade, TensorLoss
from w2e_bridge.negotiation.decision import Decision, Decisions
from w2e_bridge.negotiation.profile import Form, Profile, Role, fills, stored_bits
from w2e_bridge.negotiation.requantize import Requantized, target_of
from w2e_bridge.negotiation.rewrites import path
from w2e_bridge.negotiation.roles import multiplied, roles_of
from w2e_bridge.negotiation.step import Step, Unreachable

HALVES = (FLOAT16, BFLOAT16)
EVERYWHERE = frozenset({Role.OTHER})
"""The roles of a tensor of a model without graph."""


NEW = "a float weight of a model that is to be quantized"
"""Why it gets codes."""

UNEVEN = "codes, scales or blocks that the target has no room for"
"""Why no form holds a tensor whose encoding several forms could hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """What decides on the form of a tensor, beside its encoding."""

    roles: frozenset[Role]
    dtype: str
    columns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    form: Form
    encoding: Encoding
    steps: tuple[Step, ...]
    grade: Grade
    reason: str


def negotiate(model: Model, profile: Profile, request: Request) -> Decisions:
    """Decide how the target holds every tensor of a model.

    Args:
        model: with a graph where the profile needs one.
        profile: what the target can hold.
        request: `options["activations"]` and `options["weights"]` select among forms.

    Returns:
        A decision for every tensor that the graph uses; of a model without graph, for every tensor.

    Raises:
        UnsupportedError: the target has no form at all for a tensor.
    """
    usual = profile.options.get("weights")
    wish = request.options.get("weights") or usual
    forms, others = (_asked(_of(profile, model), profile, request, w) for w in (wish, usual))
    graph = model.graph if profile.needs_graph else None
    roles = roles_of(graph) if graph is not None else dict.fromkeys(model.tensors, EVERYWHERE)
    rules = _Rules(
        profile=profile,
        request=request,
        forms=forms,
        others=others if wish != usual else (),
        unfinished=_unfinished(model, forms, request, wished=wish != usual),
        outputs={} if graph is None else multiplied(graph),
    )
    return {
        name: rules.decide(tensor, roles[name])
        for name, tensor in model.tensors.items()
        if name in roles
    }


@dataclass(frozen=True, kw_only=True, eq=False)
class _Rules:
    """What decides on every tensor of a model.

    Attributes:
        profile, request: as given.
        forms: that the user's wish leaves.
        others: the usual ones, where a wish costs more than is accepted.
        unfinished: of `_unfinished`.
        outputs: of `multiplied`.
    """

    profile: Profile
    request: Request
    forms: tuple[Form, ...]
    others: tuple[Form, ...]
    unfinished: Mapping[str, bool]
    outputs: Mapping[str, bool]

    def decide(self, tensor: Tensor, used: frozenset[Role]) -> Decision:
        """How one tensor is held."""
        forms, name = _for(self.forms, used, tensor.dtype), tensor.name
        if name in self.unfinished:
            wished = bool(self.others) and len(tensor.shape) == 2
            made = _completed(tensor, forms, channels=self.unfinished[name], upright=wished)
            if made is not None:
                return replace(made, roles=used)
        place = _Place(roles=used, dtype=tensor.dtype, columns=tensor.columns)
        best = _settled(tensor, *self.ranked(tensor.encoding, place, self.forms))
        strict = not self.request.budget.accepts(Grade.REQUANTIZED)
        if self.others and strict and _lost(best):  # a wish that costs more than is accepted
            best = _settled(tensor, *self.ranked(tensor.encoding, place, self.others))
        if _lost(best):
            if not self.outputs.get(name, True):  # rows are no outputs: a scale for each is no use
                forms = [replace(form, per_tensor=True) for form in forms]
            anew = _anew(tensor, forms, self.request, best)
            if anew is not None:
                return replace(anew, roles=used)
        if isinstance(best, str):
            title = self.profile.title
            raise UnsupportedError(f"{title} can't hold '{name}' ({tensor.label}): {best}")
        return _decision(tensor, used, best)

    @cached_property
    def ranked(
        self,
    ) -> Callable[[Encoding, _Place, tuple[Form, ...]], tuple[tuple[_Candidate, ...], str]]:
        """`_ranked` for a place; a model has many tensors of few kinds."""

        @cache
        def ranked(
            encoding: Encoding, place: _Place, forms: tuple[Form, ...]
        ) -> tuple[tuple[_Candidate, ...], str]:
            return _ranked(encoding, _for(forms, place.roles, place.dtype), place.columns)

        return ranked


def _lost(best: _Candidate | str) -> bool:
    """Whether a tensor would be no codes any more."""
    return isinstance(best, str) or best.grade is Grade.FLOAT


def _asked(
    forms: tuple[Form, ...], profile: Profile, request: Request, wish: object
) -> tuple[Form, ...]:
    """The forms that the user's options leave."""
    mode = str(request.options.get("activations") or profile.options.get("activations", "int8"))
    return tuple(
        form
        for form in forms
        if mode in form.activations and (not form.asked or wish in form.asked)
    )


def _for(forms: tuple[Form, ...], used: frozenset[Role], dtype: str) -> list[Form]:
    return [form for form in forms if used <= form.roles and form.dtype in ("", dtype)]


def _anew(
    tensor: Tensor, forms: list[Form], request: Request, best: _Candidate | str
) -> Decision | None:
    """New codes, where the user accepts them, or accepts no floats either so that they are the lesser loss."""
    if not request.budget.accepts(Grade.REQUANTIZED) and request.budget.allow_float:
        return None
    if tensor.encoding.plain:
        return None
    why = best if isinstance(best, str) else best.reason.removeprefix("stored as float32: ")
    return _new_codes(tensor, forms, why)


def _unfinished(
    model: Model, forms: tuple[Form, ...], request: Request, *, wished: bool
) -> Mapping[str, bool]:
    """Float weights that are to become codes, since others are or the user asked for it; see `multiplied`."""
    wanted = any(form.complete for form in forms) and request.budget.accepts(Grade.REQUANTIZED)
    if not wanted or model.graph is None:
        return {}
    partly = model.activations or any(t.encoding.quantized for t in model.tensors.values())
    if not partly and not wished:
        return {}
    return {
        name: channels
        for name, channels in multiplied(model.graph).items()
        if (tensor := model.tensors.get(name)) is not None
        and (tensor.encoding == FLOAT32 or (wished and tensor.encoding in HALVES))
        and tensor.dtype == "float32"
    }


def _completed(
    tensor: Tensor, forms: list[Form], *, channels: bool, upright: bool
) -> Decision | None:
    """New codes of a float weight: a scale for each output or block; or one for all.

    Args:
        tensor: the weight.
        forms: that can hold it.
        channels: whether the first axis is that of the outputs.
        upright: whether outputs along the last axis get scales of their own.
    """
    fitting = [form for form in forms if form.complete]
    if not channels and upright:
        return _new_codes(tensor, fitting, NEW, upright=True)
    if not channels:  # then rows are no outputs, and blocks along them no use
        fitting = [form for form in fitting if not form.blocks]
        fitting = [replace(form, per_tensor=True) for form in fitting]
    return _new_codes(tensor, fitting, NEW)


def _new_codes(
    tensor: Tensor, forms: list[Form], why: str, *, upright: bool = False
) -> Decision | None:
    for form in forms:
        encoding = target_of(form, tensor.shape, upright=upright)
        if encoding is None:
            continue
        made = Requantized(tensor=tensor, encoding=encoding)
        error = made.error()
        row = TensorLoss(
            name=tensor.name,
            source_encoding=tensor.label,
            encoding=f"{form.name}: {encoding}",
            grade=Grade.REQUANTIZED,
            max_error_steps=error.steps,
            max_abs_error=error.largest,
            reason=f"{why}; {error}",
        )
        return Decision(
            tensor=made.result, source=tensor.encoding, form=form, roles=frozenset(), loss=row
        )
    return None


def _of(profile: Profile, model: Model) -> tuple[Form, ...]:
    """The forms for a model's rounding."""
    static = any(q.mode is ActivationMode.STATIC for q in model.activations.values())
    forms = [form for form in profile.forms if not (static and form.weight_only)]
    own = tuple(form for form in forms if model.numerics in form.numerics)
    return own or tuple(form for form in forms if not form.numerics)


def _ranked(
    encoding: Encoding, forms: list[Form], columns: int
) -> tuple[tuple[_Candidate, ...], str]:
    """What can hold an encoding, at the best grade and cheapest first, and why nothing else can."""
    reasons: dict[str, str] = {}
    exact = [c for form in forms if (c := _exact(encoding, form, reasons)) is not None]
    exact.sort(key=lambda c: (stored_bits(c.form, c.encoding, columns), c.form.cost))
    why = UNEVEN if exact else _why(reasons)
    last = _as_float(encoding, forms, why)
    return (*exact, *(() if last is None else (last,))), why


def _settled(tensor: Tensor, found: tuple[_Candidate, ...], why: str) -> _Candidate | str:
    """The first candidate that is right for the numbers and the shape of a tensor, or why none is."""
    fitting = (c for c in found if not c.form.whole_blocks or fills(c.encoding, tensor.shape))
    return next((c for c in fitting if _holds(tensor, c)), why)


def _decision(tensor: Tensor, roles: frozenset[Role], best: _Candidate) -> Decision:
    form, encoding = best.form, best.encoding
    row = TensorLoss(
        name=tensor.name,
        source_encoding=tensor.label,
        encoding=f"{form.name}: {encoding}" if encoding.quantized else form.name,
        grade=best.grade,
        reason=best.reason or "; ".join(step.name for step in best.steps if step.name),
    )
    held = _rewritten(tensor, best)
    return Decision(tensor=held, source=tensor.encoding, form=form, roles=roles, loss=row)


def _why(reasons: Mapping[str, str]) -> str:
    """The first reason stands for all: forms are listed nearest first."""
    return next(iter(reasons.values()), "no form for quantized weights in this place")


def _exact(encoding: Encoding, form: Form, reasons: dict[str, str]) -> _Candidate | None:
    try:
        steps = _steps(encoding, form)
    except Unreachable as reason:
        if not form.plain:  # that plain numbers are no codes explains nothing
            reasons[form.name] = str(reason)
        return None
    after = steps[-1].after if steps else encoding
    return _Candidate(form=form, encoding=after, steps=steps, grade=Grade.EXACT, reason="")


def _steps(encoding: Encoding, form: Form) -> tuple[Step, ...]:
    if form.anything:
        return ()
    if form.encoding is not None:
        return _as_it_is(encoding, form)
    if form.plain:
        return _plain(encoding, form)
    if encoding.plain:
        raise Unreachable(f"{form.name} holds quantized weights, not {encoding}")
    return tuple(path(encoding, form))


def _as_it_is(encoding: Encoding, form: Form) -> tuple[Step, ...]:
    if encoding != form.encoding:
        raise Unreachable(f"{form.name} holds {form.encoding} only")
    return ()


def _plain(encoding: Encoding, form: Form) -> tuple[Step, ...]:
    if encoding.quantized:
        raise Unreachable(f"{form.name} holds plain numbers")
    if form.codes is not None and encoding.codes != form.codes:
        raise Unreachable(f"{form.name} holds {form.codes}, not {encoding.codes}")
    return ()


def _as_float(source: Encoding, forms: list[Form], why: str) -> _Candidate | None:
    """Decoded to float32, the last resort: never silent, since its grade is FLOAT (or of a float: ROUNDING)."""
    form = next((f for f in forms if f.plain and f.codes == FLOAT32.codes), None)
    if form is None or (isinstance(source.codes, Integer) and source.plain):
        return None

    def apply(parts: Parts) -> Parts:
        return Parts(codes=decode(source, parts))

    step = Step(name="decoded", after=FLOAT32, apply=apply)
    if isinstance(source.codes, Float) and source.plain:
        wider = source.codes.name == "float64"
        grade, reason = (
            (Grade.ROUNDING, "rounded to float32") if wider else (Grade.EXACT, "widened")
        )
    elif form.by_values and source.codes.bits >= form.by_values:
        grade, reason = Grade.EXACT, f"sums of {source.codes}, held by their values"
    else:
        grade, reason = Grade.FLOAT, f"stored as float32: {why}"
    return _Candidate(form=form, encoding=FLOAT32, steps=(step,), grade=grade, reason=reason)


def _rewritten(tensor: Tensor, candidate: _Candidate) -> Tensor:
    if not candidate.steps:
        return tensor
    compute = _composed(tensor.storage.parts, tuple(step.apply for step in candidate.steps))
    return replace(tensor, encoding=candidate.encoding, storage=ComputedStorage(compute=compute))


def _holds(tensor: Tensor, candidate: _Candidate) -> bool:
    """Whether steps that depend on the numbers are exact for these."""
    if all(step.holds is None for step in candidate.steps):
        return True
    for _, _, parts in tensor.chunks():
        now = parts
        for step in candidate.steps:
            if step.holds is not None and not step.holds(now):
                return False
            now = step.apply(now)
    return True


def _composed(
    read: Callable[[int, int], Parts], steps: tuple[Callable[[Parts], Parts], ...]
) -> Callable[[int, int], Parts]:
    def compute(start: int, stop: int) -> Parts:
        parts = read(start, stop)
        with np.errstate(all="ignore"):
            for step in steps:
                parts = step(parts)
        return parts

    return compute
