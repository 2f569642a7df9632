"""Names in the canonical file: what stands where."""

from __future__ import annotations

from dataclasses import dataclass, field

KEY = "w2e.manifest"
"""The manifest, in the header's metadata."""

MAIN = "model"
"""The component that is meant where none is named."""

GRAPH, TABLE, NATIVE, TEXT, PAD = (
    f"w2e.{kind}/" for kind in ("graph", "table", "native", "text", "pad")
)
"""Prefixes: graph of a component, look-up table, a tensor's bytes as the source had them, JSON that is too
large for the header, zeros that bring what follows to its alignment."""

RESERVED = "__metadata__"


def prefix_of(component: str) -> str:
    """What stands before the names of a component's arrays."""
    return "" if component == MAIN else f"{component}/"


@dataclass(slots=True)
class Names:
    """The names of a file, each given once.

    Attributes:
        taken: the names given.
    """

    taken: set[str] = field(default_factory=lambda: {RESERVED})

    def free(self, wanted: str) -> str:
        """The wanted name if it can be one, or the next that can."""
        # Names are UTF-8, so that halves of surrogate pairs, which can't be, are spelled out.
        base = name = wanted.encode("utf-8", "backslashreplace").decode("utf-8")
        count = 1
        while name in self.taken:
            count += 1
            name = f"{base}#{count}"
        self.taken.add(name)
        return name
