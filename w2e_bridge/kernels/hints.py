"""Options of a runtime's operators that decide how it rounds and that no standard operator has.

They are kept as metadata of the canonical node, "w2e.kernel.NAME"; without them the defaults hold.
"""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from w2e_bridge.kernels.operation import Operation

PREFIX = "w2e.kernel."


def keep(operation: Operation, node: ir.Node | None, defaults: Mapping[str, str | bool]) -> None:
    """Write those options of an operation to a node that are not at their defaults."""
    for name, default in defaults.items():
        value = operation.attributes.get(name, default)
        said = bool(value) if isinstance(default, bool) else value
        if node is not None and said != default:
            node.metadata_props[PREFIX + name] = str(said)


def kept(node: ir.Node, defaults: Mapping[str, str | bool]) -> dict[str, str | bool]:
    """Read them again."""
    found: dict[str, str | bool] = {}
    for name, default in defaults.items():
        text = node.metadata_props.get(PREFIX + name)
        value: str | bool = default
        if text is not None:
            value = text == "True" if isinstance(default, bool) else text
        found[name] = value
    return found
