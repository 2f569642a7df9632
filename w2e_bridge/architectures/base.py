"""The table of families, and the way from hyper-parameters and tensors to a graph."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from w2e_bridge.architectures.config import refusal, resolve
from w2e_bridge.architectures.family import Family
from w2e_bridge.architectures.rotary import MADE
from w2e_bridge.ir.architecture import Architecture
from w2e_bridge.ir.model import Remark
from w2e_bridge.ir.tensor import Tensor

if TYPE_CHECKING:
    import onnx_ir as ir

    from w2e_bridge.architectures.builder import Builder

FAMILIES: Mapping[str, str] = {
    "gemma2": "w2e_bridge.architectures.gemma2",
    "llama": "w2e_bridge.architectures.llama",
    "mistral": "w2e_bridge.architectures.llama",
    "qwen2": "w2e_bridge.architectures.qwen2",
    "qwen3": "w2e_bridge.architectures.qwen3",
}
"""`Architecture.family` to the module whose `FAMILY` describes it, imported on first use."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Built:
    """A graph and what fills it.

    Attributes:
        graph: with stubs for weights.
        tensors: exactly those that the graph refers to, in execution order.
        made: names of those among them that the source does not have.
        remarks: tensors of the source that are not among them, and why none of them is missed.
    """

    graph: ir.Model
    tensors: Mapping[str, Tensor]
    made: frozenset[str]
    remarks: tuple[Remark, ...]


def family(name: str, origin: str) -> Family:
    """The description of a family.

    Raises:
        UnsupportedError: none of this name; the message lists those that there are.
    """
    if name not in FAMILIES:
        close = difflib.get_close_matches(name, FAMILIES, 1)
        guess = f"; did you mean {close[0]}?" if close else ""
        known = ", ".join(sorted(FAMILIES))
        problem = f"no graph is known of architecture '{name}'{guess} (known: {known})"
        raise refusal(origin, problem)
    found: Family = importlib.import_module(FAMILIES[name]).FAMILY
    return found


def build(
    architecture: Architecture,
    tensors: Mapping[str, Tensor],
    origin: str = "model",
    *,
    description: Family | None = None,
) -> Built:
    """Build the graph of a network.

    Args:
        architecture: hyper-parameters, and a role for each tensor.
        tensors: of the source; none is read, but for factors of rotary frequencies.
        origin: the file, for messages.
        description: of the family, None = the one that the architecture names.

    Raises:
        UnsupportedError: a family or hyper-parameter not known; a tensor that is missing, has another
            shape than the network needs, or has no place in it.
    """
    from w2e_bridge.architectures.builder import Builder
    from w2e_bridge.architectures.decoder import decoder

    description = description or family(architecture.family, origin)
    b = Builder(config=resolve(architecture, description, origin), tensors=tensors)
    decoder(b)
    _close(b)
    return Built(
        graph=b.model,
        tensors=_in_order(b),
        made=MADE & b.used.keys(),
        remarks=tuple(Remark(name=name, reason=reason) for name, reason in b.spent.items()),
    )


def _close(b: Builder) -> None:
    """Every tensor of the source has gone into the graph, or it is said why it need not."""
    roles = {name: role for role, name in b.config.architecture.roles.items()}
    for name in b.tensors:
        if roles.get(name, "").endswith(".input_scale"):
            # A scale for rounding activations at run time (llama.cpp `*_in_s`); weights do not need it.
            b.spent.setdefault(name, "a hint for rounding activations, which are not rounded by it")
    unused = [name for name in b.tensors if name not in b.used and name not in b.spent]
    if unused:
        role = roles.get(unused[0])
        what = f"as '{role}'" if role else "whose role is not known"
        more = f" (and {len(unused) - 1} more)" if len(unused) > 1 else ""
        family_name = b.config.architecture.family
        problem = f"a tensor {what} has no place in a network of family {family_name}{more}"
        raise b.config.refusal(problem, unused[0])


def _in_order(b: Builder) -> dict[str, Tensor]:
    """The tensors by the first node that reads each; ties by place among its inputs."""
    ordered: dict[str, Tensor] = {}
    for node in b.graph:
        for value in node.inputs:
            name = "" if value is None else value.name or ""
            if name in b.used and name not in ordered:
                ordered[name] = replace(b.used[name], order=len(ordered))
    return ordered
