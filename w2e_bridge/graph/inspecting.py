"""Questions to nodes of a graph that nobody vouches for; a surprise is an answer, not a crash."""

from __future__ import annotations

import onnx_ir as ir

from w2e_bridge.graph.weights import WeightStub

STANDARD = ("", "ai.onnx")
"""Spellings of the standard domain."""


class Unrecognised(Exception):  # noqa: N818 - an answer, not an error
    """A node is not of the kind that was looked for; `str()` is the reason."""


def is_op(node: ir.Node | None, op: str) -> bool:
    """Whether a node is a standard operator of that name."""
    return node is not None and node.op_type == op and node.domain in STANDARD


def integer(node: ir.Node, name: str, default: int | None = None) -> int:
    """An integer attribute.

    Raises:
        Unrecognised: it is missing and has no default, or is no integer.
    """
    attribute = node.attributes.get(name)
    if attribute is None and default is not None:
        return default
    if attribute is None or attribute.is_ref() or attribute.type != ir.AttributeType.INT:
        raise Unrecognised(f"attribute '{name}' is no integer")
    return attribute.as_int()


def given(node: ir.Node, index: int | None) -> ir.Value | None:
    """An input, None where it is left out."""
    return node.inputs[index] if index is not None and index < len(node.inputs) else None


def needed(node: ir.Node, index: int) -> ir.Value:
    """An input that must be there, or `Unrecognised`."""
    value = given(node, index)
    if value is None:
        raise Unrecognised(f"input {index} is missing")
    return value


def is_weight(value: ir.Value | None) -> bool:
    """Whether a value is a stub of a tensor."""
    return value is not None and isinstance(value.const_value, WeightStub)


def only_output(node: ir.Node) -> ir.Value:
    """The one output of a node, or `Unrecognised`."""
    if len(node.outputs) != 1:
        raise Unrecognised(f"{len(node.outputs)} outputs")
    return node.outputs[0]


def name_of(value: ir.Value) -> str:
    """A value's name; values of a valid graph have one."""
    return value.name or ""


def attribute_of(node: ir.Node, name: str) -> object:
    """An attribute's value, lists as tuples; None where it is missing or a reference."""
    found = node.attributes.get(name)
    if found is None or found.is_ref():
        return None
    value = found.value
    return tuple(value) if isinstance(value, list | tuple) else value
