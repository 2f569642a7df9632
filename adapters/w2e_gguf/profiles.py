"""What a GGUF file holds, as data: one form for each ggml type."""

from __future__ import annotations

from collections.abc import Mapping

from w2e_bridge.ir.codes import Float, Integer
from w2e_bridge.ir.encoding import Encoding
from w2e_bridge.negotiation.profile import Form, Profile, Role
from w2e_gguf.blocks.table import TYPES, GgmlType


def _form(row: GgmlType) -> Form:
    encoding = row.layout.encoding
    codes = encoding.codes
    return Form(
        name=row.name,
        roles=frozenset(Role),
        codes=codes if isinstance(codes, Float | Integer) else None,
        scale=encoding.scale,
        overhead=8 * row.bytes / row.elements - encoding.bits_per_weight(row.elements),
        layout=row.layout.name,
        encoding=encoding,
    )


def profiles() -> Mapping[str, Profile]:
    """Profiles by name; the first is the default."""
    forms = tuple(map(_form, TYPES.values()))
    gguf = Profile(name="gguf", title="GGUF (llama.cpp)", forms=forms, needs_graph=False)
    return {gguf.name: gguf}


def encodings() -> Mapping[str, Encoding]:
    """What each ggml type is, by name."""
    return {row.name: row.layout.encoding for row in TYPES.values()}
