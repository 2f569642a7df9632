"""Unique names for the values of a model: a file may repeat them, or leave them out."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True)
class Names:
    """The names that are taken, in all graphs of a model.

    Attributes:
        taken: names.
        count: how often a name was asked for once it was taken.
    """

    taken: set[str] = field(default_factory=set)
    count: dict[str, int] = field(default_factory=dict)

    def free(self, name: str) -> str:
        """The name, or the next one like it that nothing has."""
        unique = name
        while unique in self.taken:
            self.count[name] = self.count.get(name, 0) + 1
            unique = f"{name}#{self.count[name]}"
        self.taken.add(unique)
        return unique

    def release(self, name: str) -> None:
        """Let others have a name."""
        self.taken.discard(name)
