"""`w2e-bridge inspect`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from w2e_bridge.cli.failures import about
from w2e_bridge.cli.help import common
from w2e_bridge.cli.options import FormatCommand
from w2e_bridge.cli.render import count, listed, short, show, size, some, table

if TYPE_CHECKING:
    from w2e_bridge.fidelity.describe import Document

_ITEMS = 6
_EXAMPLES = (
    "w2e-bridge inspect model.gguf",
    "w2e-bridge inspect model.gguf --tensors",
    "w2e-bridge inspect model.gguf --json | jq '.tensors[0]'",
)


@click.command(cls=FormatCommand, sides=("lift",), name="inspect", examples=_EXAMPLES)
@click.argument("source")
@click.option("--tensors", is_flag=True, help="List every tensor.")
@common
def command(
    source: str,
    *,
    tensors: bool,
    options: dict[str, Any],
    as_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Show what a model file holds: network, sizes by encoding, tokenizer, metadata.

    Reads headers, not weights. Works on every installed format, and on files that hold no network
    (vocabularies, importance matrices).
    """
    from w2e_bridge import api
    from w2e_bridge.fidelity.report import to_json

    with about(source):
        document = api.inspect(source, **options)
    if as_json:
        print(to_json(document))
    elif not quiet:
        show(_lines(document, tensors=tensors or verbose, every=verbose))
    return 0


def _lines(document: Document, *, tensors: bool, every: bool) -> list[str]:
    most = 10**9 if every else 12
    weights = document["weights"]
    lines = [
        f"{document['path']}  {document['format']}, {document['kind']}, {size(document['bytes'])}",
        *_field("network", _network(document["architecture"])),
        *_field("graph", _graph(document["graph"])),
        *_field("tokenizer", _tokenizer(document["tokenizer"])),
        *_field(
            "weights",
            f"{some(weights['tensors'], 'tensor')}, {count(weights['elements'])} weights, "
            f"{size(weights['bytes'])}, {weights['bits_per_weight']:.2f} bits per weight",
        ),
        *_encodings(document["encodings"]),
        *(_tensors(document["tensors"]) if tensors else []),
        *listed(
            "metadata",
            [short(f"{k} = {_preview(v)}", 110) for k, v in document["metadata"].items()],
            most,
        ),
        *listed(
            "hints",
            [short(f"{k} = {_preview(v)}", 110) for k, v in document["hints"].items()],
            most,
        ),
        *listed(
            "not carried",
            [short(f"{r['name']}: {r['reason']}", 110) for r in document["remarks"]],
            most,
        ),
    ]
    for name, component in document["components"].items():
        lines += [
            "",
            f"component {name} ({component['kind']})",
            *_lines(component, tensors=tensors, every=every)[1:],
        ]
    for name, content in document.get("file", {}).items():
        lines += _section(name, content, most)
    return lines


def _section(name: str, content: object, most: int) -> list[str]:
    """What a format says of its file in its own words: a table, a list or a line."""
    if not isinstance(content, list):
        return ["", f"{_head(name)}: {_cell(name, content)}"]
    rows = [row for row in content if isinstance(row, dict)]
    if not rows or len(rows) < len(content):
        return ["", *listed(name, [short(item, 110) for item in content], most)] if content else []
    head = [key for key in rows[0] if any(row.get(key) not in ("", None, False) for row in rows)]
    body = [[_cell(key, row.get(key)) for key in head] for row in rows[:most]]
    numbers = [i for i, key in enumerate(head) if isinstance(rows[0].get(key), int)]
    more = [f"  … and {len(rows) - most} more"] if len(rows) > most else []
    return ["", name, *table([[_head(key) for key in head], *body], numbers), *more]


def _head(key: str) -> str:
    return "size" if key == "nbytes" else key.removesuffix("_nbytes").replace("_", " ")


def _cell(key: str, value: object) -> str:
    if key.endswith("nbytes") and isinstance(value, int):
        return size(value)
    if isinstance(value, list | tuple):
        return "×".join(map(str, value))
    return short(value, 60)


def _preview(value: object) -> str:
    """A value, a long list by its first items and its length."""
    if isinstance(value, list) and len(value) > _ITEMS:
        return f"[{', '.join(map(str, value[:_ITEMS]))}, …] ({len(value)})"
    return str(value)


def _field(name: str, text: str) -> list[str]:
    return [f"  {name:<10} {text}"] if text else []


def _network(found: Document | None) -> str:
    if found is None:
        return ""
    shared = _range(found["kv_heads"])
    heads = f"{_range(found['heads'])} heads ({shared} key/value) of {found['head_size']}"
    experts = f", {found['experts_used']} of {found['experts']} experts" if found["experts"] else ""
    return (
        f"{found['family']}: {found['layers']} layers, hidden {found['hidden']}, {heads}{experts}, "
        f"vocabulary {found['vocabulary']}, context {found['context']}"
    )


def _range(numbers: list[int]) -> str:
    low, high = min(numbers, default=0), max(numbers, default=0)
    return str(low) if low == high else f"{low} to {high}"


def _graph(found: Document | None) -> str:
    if found is None:
        return ""
    names = [f"{', '.join(v['name'] for v in found[side][:4])}" for side in ("inputs", "outputs")]
    return f"{some(found['nodes'], 'node')}, {short(names[0], 60)} → {short(names[1], 40)}"


def _tokenizer(found: Document | None) -> str:
    if found is None:
        return ""
    return f"none: {found['missing']}" if found["missing"] else "yes"


def _encodings(rows: list[Document]) -> list[str]:
    if not rows:
        return []
    head = ("encoding", "tensors", "weights", "size", "bits per weight")
    body = [
        (
            short(r["encoding"], 60),
            str(r["tensors"]),
            count(r["elements"]),
            size(r["bytes"]),
            f"{r['bits_per_weight']:.2f}",
        )
        for r in rows
    ]
    return ["", *table([head, *body], right=(1, 2, 3, 4)), ""]


def _tensors(rows: list[Document]) -> list[str]:
    head = ("tensor", "shape", "encoding", "size")
    body = [
        (
            short(r["name"], 60),
            "×".join(map(str, r["shape"])),
            short(r["encoding"], 48),
            size(r["bytes"]),
        )
        for r in rows
    ]
    return [*table([head, *body], right=(3,)), ""]
