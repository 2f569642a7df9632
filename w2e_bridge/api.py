"""What the README shows: open, convert, compare, and the two halves of a conversion."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from w2e_bridge.errors import (
    BridgeError,
    DefectError,
    FormatError,
    LossError,
    OutputError,
    UsageError,
    Where,
)
from w2e_bridge.fidelity.audit import Audit
from w2e_bridge.fidelity.compare import Comparison, compare_models
from w2e_bridge.fidelity.report import Report, Written, to_json, totals
from w2e_bridge.formats.lint import Finding
from w2e_bridge.formats.lint import target as lint_target
from w2e_bridge.formats.options import assign, guess, resolve
from w2e_bridge.formats.output import Output
from w2e_bridge.formats.registry import load, named, sniff
from w2e_bridge.formats.sink import Destination, destination, staging
from w2e_bridge.formats.spec import Format, OptionValue, Request
from w2e_bridge.ir.model import Model
from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.loss import Budget, Grade, Ignored, TensorLoss
from w2e_bridge.negotiation.decision import Decisions
from w2e_bridge.negotiation.profile import Profile
from w2e_bridge.stream.pipeline import Progress, write

if TYPE_CHECKING:
    from w2e_bridge.passes.base import PassResult

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
        said = {row.name for row in (*output.ignored, *remarks)} | self.decisions.keys()
        unused = tuple(
            Ignored(name=name, reason="the graph does not use it")
            for name in model.tensors
            if name not in said
        )
        decided = [(d, t) for n, t in model.tensors.items() if (d := self.decisions.get(n))]
        return Report(
            source="",
            target="",
            profile=self.request.profile,
            tensors=tuple(decision.loss for decision, _ in decided),
            values=output.values,
            ignored=tuple(dict.fromkeys((*output.ignored, *remarks, *unused))),
            hints=output.hints,
            conditions=output.conditions,
            summary=output.summary,
            totals=totals((d.loss, t.nbytes, d.tensor.nbytes) for d, t in decided),
            source_bytes=model.origin.nbytes if model.origin else model.nbytes,
        )


def _plan(model: Model, target: Format, profile: Profile, request: Request) -> _Plan:
    from w2e_bridge.negotiation.negotiate import negotiate

    assert target.lower is not None
    passed = _prepared(model, profile, request)
    prepared = passed.model
    decisions = _told(negotiate(prepared, profile, request), passed.losses)
    output = load(target, target.lower)(prepared, decisions, request)
    # What the passes left behind is told too; the tensors that they made are not the source's.
    told = replace(model, remarks=prepared.remarks)
    return _Plan(
        model=told,
        prepared=prepared,
        target=target,
        request=request,
        decisions=decisions,
        output=output,
    )


def _told(decisions: Decisions, losses: tuple[TensorLoss, ...]) -> Decisions:
    """The decisions, with what passes did to tensors before where that is the greater loss."""
    told = dict(decisions)
    for loss in losses:
        decision = told.get(loss.name)
        if decision is not None and loss.grade > decision.loss.grade:
            told[loss.name] = replace(decision, loss=replace(loss, encoding=decision.loss.encoding))
    return told


def _prepared(model: Model, profile: Profile, request: Request) -> PassResult:
    from w2e_bridge.passes.pipelines import prepare

    return prepare(model, profile, request)


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
        audit = None if report.audit == "none" else _audit(plan, folder / names[0], report.audit)
        # A tensor is read back as soon as it is written: the disk is the slower one of the two.
        check = None if audit is None else audit.check
        write(plan.output, folder, name=place.name, progress=progress, written=check)
        if audit is not None:
            audit.finish()
        sizes = {
            path.relative_to(folder).as_posix(): path.stat().st_size
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
    order = dict.fromkeys((*names, *sizes))
    return replace(report, files=tuple(Written(name=n, nbytes=sizes[n]) for n in order))


def _audit(plan: _Plan, path: Path, extent: str) -> Audit:
    def read_back() -> Mapping[str, Tensor]:
        try:
            return _lift(path, plan.target, resolve(plan.target, "lift", {})).tensors
        except BridgeError as error:
            what = str(error).replace(str(path), path.name)
            raise DefectError(
                f"internal defect, please report: can't be read back: {what}"
            ) from error

    mine = {name: d for name, d in plan.decisions.items() if name in plan.model.tensors}
    return Audit(plan.prepared.tensors, mine, read_back, full=extent == "full")


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
