"""`w2e-bridge compare`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from w2e_bridge.cli.failures import about
from w2e_bridge.cli.help import HelpFirst, common
from w2e_bridge.cli.render import listed, short, show, table

if TYPE_CHECKING:
    from w2e_bridge.fidelity.compare import Comparison, Pair

_EXAMPLES = (
    "w2e-bridge compare model.gguf model-onnx/model.onnx",
    "w2e-bridge compare a.gguf b.gguf --encodings              # stored alike, too",
    "w2e-bridge compare a.gguf b.gguf --json | jq '.pairs[] | select(.max_abs > 0)'",
)


@click.command(cls=HelpFirst, name="compare", examples=_EXAMPLES)
@click.argument("first")
@click.argument("second")
@click.option(
    "--encodings", is_flag=True, help="Another encoding of equal values is a difference too."
)
@common
def command(
    first: str, second: str, *, encodings: bool, as_json: bool, quiet: bool, verbose: bool
) -> int:
    """Compare two models tensor by tensor, whatever their formats.

    Tensors are matched by name and compared on their decoded values. Tables that a graph computes
    from hyper-parameters (rope.*) are no difference where the other model has none. Exit code 1:
    they differ.
    """
    from w2e_bridge.api import open as lift
    from w2e_bridge.fidelity.compare import compare_models
    from w2e_bridge.fidelity.report import to_json

    models = []
    for path in (first, second):
        with about(path):
            models.append(lift(path))
    with about(first), about(second):
        found = compare_models(*models)
    same = found.same and (found.same_encodings or not encodings)
    if as_json:
        print(to_json({"same": same, "same_encodings": found.same_encodings, **_document(found)}))
    elif not quiet:
        show(_lines(found, same=same, every=verbose))
    return 0 if same else 1


def _document(found: Comparison) -> dict[str, object]:
    pairs = [{**asdict(pair), "same": pair.same} for pair in found.pairs]
    return {**asdict(found), "pairs": pairs}


def _lines(found: Comparison, *, same: bool, every: bool) -> list[str]:
    most = 10**9 if every else 10
    differing = [pair for pair in found.pairs if not pair.same]
    other = [pair for pair in found.pairs if pair.same and not pair.same_encoding]
    rows = [_row(pair) for pair in (found.pairs if every else differing[:most])]
    head = ("tensor", found.a, found.b, "equal", "max |Δ|", "SNR")
    equal = sum(pair.same for pair in found.pairs)
    elsewhere = f", {len(other)} of them in another encoding" if other else ""
    verdict = f"{'same' if same else 'different'}: {equal} of {len(found.pairs)} common tensors"
    return [
        f"{verdict} have equal values{elsewhere}",
        *(table([head, *rows], right=(3, 4, 5)) if rows else []),
        *([f"  … and {len(differing) - most} more"] if len(differing) > most and not every else []),
        *listed(f"only in {found.a}", found.missing, most),
        *listed(f"only in {found.b}", found.extra, most),
        *listed("computed tables, no difference", found.computed, most if every else 3),
    ]


def _row(pair: Pair) -> tuple[str, ...]:
    sides = [
        short(f"{e} {'×'.join(map(str, s))}", 40)
        for e, s in zip(pair.encodings, pair.shapes, strict=True)
    ]
    if pair.shapes[0] != pair.shapes[1]:
        return (short(pair.name, 48), *sides, "shapes differ", "", "")
    share = f"{pair.equal}/{pair.values}"
    return (short(pair.name, 48), *sides, share, f"{pair.max_abs:.3g}", f"{pair.snr_db:.1f} dB")
