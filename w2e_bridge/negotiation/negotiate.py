"""The one negotiation: each tensor to the cheapest form of the target at the best grade.

Planning looks at types only. The result's tensors are computations over the source's chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from w2e_bridge.errors import UnsupportedError
from w2e_bridge.formats.spec import Request
from w2e_bridge.ir.codes import Float, Integer
from w2e_bridge.ir.encoding import FLOAT32, Encoding
from w2e_bridge.ir.model import Model
from w2e_bridge.ir.parts import Parts, decode
from w2e_bridge.ir.tensor import ComputedStorage, Tensor
from w2e_bridge.loss import Grade, TensorLoss
from w2e_bridge.negotiation.decision import Decision, Decisions
from w2e_bridge.negotiation.profile import Form, Profile, Role, stored_bits
from w2e_bridge.negotiation.requantize import Requantized, target_of
from w2e_bridge.negotiation.rewrites import Step, Unreachable, path
from w2e_bridge.negotiation.roles import multiplied, roles_of

EVERYWHERE = frozenset({Role.OTHER})
"""The roles of a tensor of a model without graph."""


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
        request: `options["activations"]` selects among forms.

    Returns:
        A decision for every tensor that the graph uses; of a model without graph, for every tensor.

    Raises:
        UnsupportedError: the target has no form at all for a tensor.
    """
    mode = str(request.options.get("activations") or profile.options.get("activations", "int8"))
    forms = tuple(form for form in _of(profile, model) if mode in form.activations)
    graph = model.graph if profile.needs_graph else None
    roles = roles_of(graph) if graph is not None else dict.fromkeys(model.tensors, EVERYWHERE)

    @cache  # a model has many tensors of few kinds
    def choose(encoding: Encoding, used: frozenset[Role], columns: int) -> _Candidate | str:
        return _best(encoding, _for(forms, used), columns)

    decisions: dict[str, Decision] = {}
    unfinished = _unfinished(model, forms, request)
    for name, tensor in model.tensors.items():
        if name not in roles:
            continue
        if name in unfinished:
            made = _completed(tensor, _for(forms, roles[name]), channels=unfinished[name])
            if made is not None:
                decisions[name] = replace(made, roles=roles[name])
                continue
        best = choose(tensor.encoding, roles[name], tensor.columns)
        if not isinstance(best, str) and not _holds(tensor, best):
            best = "a negative scale whose codes have no negative"
        if isinstance(best, str) or best.grade is Grade.FLOAT:
            anew = _anew(tensor, _for(forms, roles[name]), request, best)
            if anew is not None:
                decisions[name] = replace(anew, roles=roles[name])
                continue
        if isinstance(best, str):
            raise UnsupportedError(f"{profile.title} can't hold '{name}' ({tensor.label}): {best}")
        decisions[name] = _decision(tensor, roles[name], best)
    return decisions


def _for(forms: tuple[Form, ...], used: frozenset[Role]) -> list[Form]:
    return [form for form in forms if used <= form.roles]


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


def _unfinished(model: Model, forms: tuple[Form, ...], request: Request) -> Mapping[str, bool]:
    """Float weights that are to become codes, since the rest of the model is quantized; see `multiplied`."""
    wanted = any(form.complete for form in forms) and request.budget.accepts(Grade.REQUANTIZED)
    if not wanted or model.graph is None:
        return {}
    if not model.activations and not any(t.encoding.quantized for t in model.tensors.values()):
        return {}
    return {
        name: channels
        for name, channels in multiplied(model.graph).items()
        if (tensor := model.tensors.get(name)) is not None
        and tensor.encoding == FLOAT32
        and tensor.dtype == "float32"
    }


def _completed(tensor: Tensor, forms: list[Form], *, channels: bool) -> Decision | None:
    """New codes of a float weight of a quantized model: a scale for each output, or one for all."""
    fitting = [form for form in forms if form.complete]
    if not channels:
        fitting = [replace(form, per_tensor=True) for form in fitting]
    return _new_codes(tensor, fitting, "a float weight of a quantized model")


def _new_codes(tensor: Tensor, forms: list[Form], why: str) -> Decision | None:
    for form in forms:
        encoding = target_of(form, tensor.columns, len(tensor.shape))
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
    own = tuple(form for form in profile.forms if model.numerics in form.numerics)
    return own or tuple(form for form in profile.forms if not form.numerics)


def _best(encoding: Encoding, forms: list[Form], columns: int) -> _Candidate | str:
    """The cheapest form at the best grade, or why there is none."""
    reasons: dict[str, str] = {}
    exact = [c for form in forms if (c := _exact(encoding, form, reasons)) is not None]
    if exact:
        return min(exact, key=lambda c: (stored_bits(c.form, c.encoding, columns), c.form.cost))
    return _as_float(encoding, forms, _why(reasons)) or _why(reasons)


def _decision(tensor: Tensor, roles: frozenset[Role], best: _Candidate) -> Decision:
    form, encoding = best.form, best.encoding
    row = TensorLoss(
        name=tensor.name,
        source_encoding=tensor.label,
        encoding=f"{form.name}: {encoding}" if encoding.quantized else form.name,
        grade=best.grade,
        reason=best.reason or "; ".join(step.name for step in best.steps),
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
