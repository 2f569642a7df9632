"""What the README shows: open, convert, compare, and the two halves of a conversion."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from os import PathLike
from pathlib import Path

from w2e_bridge.errors import (
    BridgeError,
    DefectError,
    FormatError,
    LossError,
    OutputError,
    UnsupportedError,
    UsageError,
    Where,
)
from w2e_bridge.fidelity.audit import Audit
from w2e_bridge.fidelity.compare import Comparison, compare_models
from w2e_bridge.fidelity.report import Report, Written, to_json, totals
from w2e_bridge.formats.lint import Finding
from w2e_bridge.formats.lint import target as lint_target
from w2e_bridge.formats.options import assign, guess, resolve
from w2e_bridge.formats.output import Held, Output, Part
from w2e_bridge.formats.registry import load, named, sniff
from w2e_bridge.formats.sink import Destination, destination, staging
from w2e_bridge.formats.spec import Format, OptionValue, Request
from w2e_bridge.ir.model import Model, Origin, Remark
from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.loss import Budget, Grade, Ignored
from w2e_bridge.negotiation.decision import Decisions
from w2e_bridge.negotiation.profile import Profile
from w2e_bridge.stream.pipeline import Progress, write

AnyPath = str | PathLike[str]
FIDELITIES = {grade.label: grade for grade in (Grade.EXACT, Grade.ROUNDING, Grade.REQUANTIZED)}
AUDITS = ("sample", "full", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What is asked of a lowering; `convert` says what each means."""

    to: str
    out: AnyPath | None = None
    profile: str | None = None
    fidelity: str = "exact"
    allow_float: bool = False
    options: Mapping[str, OptionValue] = field(default_factory=dict)
    force: bool = False
    dry_run: bool = False
    audit: str = "sample"

    def __post_init__(self) -> None:
        _one_of("--fidelity", self.fidelity, FIDELITIES)
        _one_of("--audit", self.audit, AUDITS)

    @property
    def budget(self) -> Budget:
        """The worst that is accepted."""
        return Budget(fidelity=FIDELITIES[self.fidelity], allow_float=self.allow_float)


def open(path: AnyPath, **options: OptionValue) -> Model:
    """Read a model of any installed format; weights stay in the file until they are asked for.

    Args:
        path: the file or folder.
        **options: options of its format.
    """
    spec = sniff(Path(path))
    return _lift(Path(path), spec, resolve(spec, "lift", options))


def convert(  # noqa: PLR0913 - the public spelling: each word is an option of the command line
    source: AnyPath,
    *,
    to: str,
    out: AnyPath | None = None,
    profile: str | None = None,
    fidelity: str = "exact",
    allow_float: bool = False,
    options: Mapping[str, OptionValue] | None = None,
    force: bool = False,
    dry_run: bool = False,
    audit: str = "sample",
    progress: Progress | None = None,
) -> Report:
    """Convert a model; the output appears whole or not at all.

    Args:
        source: the file or folder to read.
        to: name of the target's format.
        out: a file with the format's suffix, or a folder; None = `./STEM-TARGET`.
        profile: which of the format's targets; None = its first.
        fidelity: the worst that is accepted: "exact", "rounding" or "requantized".
        allow_float: whether quantized weights may be stored as floats.
        options: options of the two formats.
        force: replace earlier output.
        dry_run: only plan; the report says what would be refused instead of raising `LossError`.
        audit: how much of the output is read back and compared: "sample", "full" or "none".
        progress: called with bytes of the source done, and bytes in all.

    Returns:
        What became of every tensor, as in `w2e-report.json`.

    Raises:
        BridgeError: see `errors`; nothing was written.
    """
    path, target, spec = Path(source), named(to), sniff(Path(source))
    reading, writing = assign(options or {}, spec, target)
    wishes = Wishes(
        to=to, out=out, profile=profile, fidelity=fidelity, allow_float=allow_float,
        options=writing, force=force, dry_run=dry_run, audit=audit,
    )  # fmt: skip
    if not dry_run:
        place = _destination(wishes, path, target)
        place.check([Path(out).name] if out else [], path)  # before minutes of work, not after
    return lower(_lift(path, spec, resolve(spec, "lift", reading)), wishes, progress)


def inspect(path: AnyPath, **options: OptionValue) -> dict[str, object]:
    """What a file holds, as plain data: the model, and under `file` what its format alone knows.

    Args:
        path: the file or folder.
        **options: options of its format.
    """
    from w2e_bridge.fidelity.describe import describe

    spec = sniff(Path(path))
    values = resolve(spec, "lift", options)
    try:
        model = _sealed(Path(path), spec) if spec.opaque else _lift(Path(path), spec, values)
    except UnsupportedError as reason:
        if spec.inspect is None:
            raise
        model = _sealed(Path(path), spec, kind="model", problem=str(reason))
    document = describe(model)
    if spec.inspect is not None:
        document["file"] = dict(load(spec, spec.inspect)(Path(path)))
    return document


def _sealed(path: Path, spec: Format, *, kind: str = "", problem: str = "") -> Model:
    """All that is known of a file from which nothing can be read."""
    origin = Origin(format=spec.name, path=str(path), nbytes=path.stat().st_size)
    reason = problem.removeprefix(f"{path}: ")
    remarks = (Remark(name=path.name, reason=reason),) if problem else ()
    return Model(tensors={}, kind=kind or spec.name, origin=origin, remarks=remarks)


def compare(a: AnyPath, b: AnyPath) -> Comparison:
    """Compare the tensors of two models of any formats, by name."""
    return replace(compare_models(open(a), open(b)), a=str(a), b=str(b))


def lint(path: AnyPath, target: str) -> Sequence[Finding]:
    """Check an ONNX model against the rules of a runtime, without the runtime.

    Args:
        path: the model.
        target: what it shall run on: one of `formats.lint.targets()`.
    """
    spec, function = lint_target(target)
    check: Callable[[Path], Sequence[Finding]] = load(spec, function)
    return check(Path(path))


lift = open
"""File to model: the first half of `convert`."""


def lower(model: Model, wishes: Wishes, progress: Progress | None = None) -> Report:
    """Model to files: the second half of `convert`."""
    target = named(wishes.to)
    source = Path(model.origin.path if model.origin else "model")
    place = _destination(wishes, source, target)
    profile = _profile(target, wishes.profile)
    values = resolve(target, "lower", wishes.options, profile.options)
    request = Request(profile=profile.name, options=values, stem=place.stem, budget=wishes.budget)
    plan = _plan(model, target, profile, request)
    report = replace(plan.report(), source=source.name or source.resolve().name, target=target.name)
    try:
        wishes.budget.check([*report.tensors, *report.values], str(source))
    except LossError as error:
        if not wishes.dry_run:
            raise
        report = replace(report, refusal=str(error))
    files = tuple(Written(name=place.name(f.name), nbytes=f.nbytes) for f in plan.output.files)
    report = replace(report, out=str(place.folder), files=files)
    if wishes.dry_run:
        return report
    report = replace(report, audit=wishes.audit if target.lift is not None else "none")
    return _write(plan, place, report, progress)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """A conversion that is decided and not yet written.

    Attributes:
        model: the source's own.
        prepared: what the passes made of it; its tensors of the same names may have other axes.
    """

    model: Model
    prepared: Model
    target: Format
    request: Request
    decisions: Decisions
    output: Output

    def report(self) -> Report:
        """What is known before anything is written; something of every tensor of the source."""
        output, model = self.output, self.model
        remarks = tuple(Ignored(name=r.name, reason=r.reason) for r in model.remarks)
        networks = [(model, Part(name="", held=self.decisions, ignored=remarks))]
        networks += [(model.components[part.name], part) for part in output.parts]
        ignored = [*output.ignored]
        for network, part in networks:
            ignored += [*part.ignored, *_unused(network, part, {row.name for row in ignored})]
        ignored += _left(model, output, self.target)
        decided = [
            (held, tensor)
            for network, part in networks
            for name, tensor in network.tensors.items()
            if (held := part.held.get(name))
        ]
        rows = (*(held.loss for held, _ in decided), *output.constants)
        return Report(
            source="",
            target="",
            profile=self.request.profile,
            tensors=tuple(dict.fromkeys(rows)),  # networks may share a tensor
            values=output.values,
            ignored=tuple(dict.fromkeys(ignored)),
            hints=output.hints,
            conditions=output.conditions,
            summary=output.summary,
            totals=totals((d.loss, t.nbytes, d.tensor.nbytes) for d, t in decided),
            source_bytes=model.origin.nbytes if model.origin else model.nbytes,
        )


def _unused(model: Model, part: Part, said: set[str]) -> Iterator[Ignored]:
    """Tensors of a network of which nothing else is said."""
    known = said | {row.name for row in part.ignored} | part.held.keys()
    for name in model.tensors:
        if name not in known:
            yield Ignored(name=name, reason="the graph does not use it")


def _left(model: Model, output: Output, target: Format) -> Iterator[Ignored]:
    """Further networks that the target has no place for."""
    held = {part.name for part in output.parts}
    for name in model.components:
        if name not in held:
            yield Ignored(name=name, reason=f"a further network, left out of {target.title}")


def _plan(model: Model, target: Format, profile: Profile, request: Request) -> _Plan:
    from w2e_bridge.passes.components import decide

    assert target.lower is not None
    if target.prepare is not None:
        model = load(target, target.prepare)(model, request)
    decided = decide(model, profile, request)
    output = load(target, target.lower)(decided.model, decided.decisions, request)
    # What the passes left behind is told too; the tensors that they made are not the source's.
    told = replace(model, remarks=decided.model.remarks)
    return _Plan(
        model=told,
        prepared=decided.model,
        target=target,
        request=request,
        decisions=decided.decisions,
        output=output,
    )


def _write(plan: _Plan, place: Destination, report: Report, progress: Progress | None) -> Report:
    source = Path(plan.model.origin.path) if plan.model.origin else None
    names = [file.name for file in report.files]
    place.check([*names, place.report], source)
    with _system(place.folder), staging(place) as folder:
        for companion in plan.output.companions:  # first: small, and their names are checked too
            companion(folder)
        place.check([path.name for path in folder.iterdir()], source)
        text = to_json(report.document()) + "\n"
        (folder / place.report).write_text(text, encoding="utf-8", newline="\n")
        off = report.audit == "none"
        audits = [] if off else _audits(plan, folder / names[0], report.audit)
        # What is written is read back while the disk still takes the last of it: it is the slower one of the two.
        check = audits[0].check if audits else None
        write(plan.output, folder, name=place.name, progress=progress, written=check)
        for audit in audits:
            audit.finish()
        if plan.target.check is not None:
            load(plan.target, plan.target.check)(folder / names[0])
        sizes = {
            path.relative_to(folder).as_posix(): path.stat().st_size
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
    order = dict.fromkeys((*names, *sizes))
    return replace(report, files=tuple(Written(name=n, nbytes=sizes[n]) for n in order))


def _audits(plan: _Plan, path: Path, extent: str) -> list[Audit]:
    """What reads the output back: of the model itself first, then of each further network."""

    @cache
    def read_back() -> Model:
        try:
            return _lift(path, plan.target, resolve(plan.target, "lift", {}))
        except BridgeError as error:
            what = str(error).replace(str(path), path.name)
            raise DefectError(
                f"internal defect, please report: can't be read back: {what}"
            ) from error

    def component(name: str) -> Mapping[str, Tensor]:
        part = read_back().components.get(name)
        return {} if part is None else part.tensors

    full = extent == "full"
    mine = {name: d for name, d in plan.decisions.items() if name in plan.model.tensors}
    main = Audit(
        plan.prepared.tensors,
        mine,
        lambda: read_back().tensors,
        full=full,
        turned=plan.model.tensors,
    )
    further = [
        # What passes made of a further network's tensors is in its decisions alone.
        Audit({}, _kept(part, plan.model), partial(component, part.name), full=full)
        for part in plan.output.parts
    ]
    return [main, *further]


def _kept(part: Part, model: Model) -> Mapping[str, Held]:
    """What is held of a component, as far as its source has it too."""
    known = model.components[part.name].tensors
    return {name: held for name, held in part.held.items() if name in known}


def _lift(path: Path, spec: Format, options: Mapping[str, OptionValue]) -> Model:
    if spec.lift is None:
        raise UsageError(f"{path}: {spec.title} can be written, not read")
    read: Callable[[Path, Mapping[str, OptionValue]], Model] = load(spec, spec.lift)
    try:
        return read(path, options)
    except OSError as error:
        raise FormatError(Where(path=path), error.strerror or "can't be read") from error


def _destination(wishes: Wishes, source: Path, target: Format) -> Destination:
    if target.lower is None:
        raise UsageError(f"{target.title} can be read, not written")
    out = None if wishes.out is None else Path(wishes.out)
    return destination(out, source, target.name, target.suffixes, force=wishes.force)


def _profile(target: Format, name: str | None) -> Profile:
    assert target.profiles is not None
    known: Mapping[str, Profile] = load(target, target.profiles)()
    if name is None:
        return next(iter(known.values()))
    _one_of(f"--profile of {target.name}", name, known)
    return known[name]


def _one_of(what: str, value: str, known: Mapping[str, object] | tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"{what} is one of {', '.join(known)}, not '{value}'{guess(value, known)}")


@contextmanager
def _system(folder: Path) -> Iterator[None]:
    """Whatever the system refuses on the way to the output is an error of this project."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{folder} can't be written: {error.strerror or error}") from error
