"""The cheapest way to part a network of capacities in two (maximum flow, minimum cut; Dinic's method)."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

SOURCE, SINK = "source", "sink"
ENDLESS = 1 << 60


@dataclass(slots=True)
class Network:
    """Vertices, and what it costs to have the first of two on the source's side and the second on the sink's.

    Attributes:
        capacities: vertex to neighbour to what is left of the capacity.
    """

    capacities: dict[Hashable, dict[Hashable, int]] = field(
        default_factory=lambda: {SOURCE: {}, SINK: {}}
    )

    def cost(self, a: Hashable, b: Hashable, capacity: int) -> None:
        """Add to the cost of `a` with the source and `b` with the sink."""
        if a != b:
            forward = self.capacities.setdefault(a, {})
            forward[b] = forward.get(b, 0) + capacity
            self.capacities.setdefault(b, {}).setdefault(a, 0)

    def with_sink(self) -> set[Hashable]:
        """The fewest vertices that must be with the sink in a cheapest cut."""
        while levels := self._levels():
            places = {vertex: iter(list(near)) for vertex, near in self.capacities.items()}
            while path := self._path(levels, places):
                least = min(self.capacities[a][b] for a, b in path)
                for a, b in path:
                    self.capacities[a][b] -= least
                    self.capacities[b][a] += least
        return self._reaching()

    def _levels(self) -> dict[Hashable, int]:
        levels: dict[Hashable, int] = {SOURCE: 0}
        queue: deque[Hashable] = deque([SOURCE])
        while queue:
            a = queue.popleft()
            for b, left in self.capacities[a].items():
                if left and b not in levels:
                    levels[b] = levels[a] + 1
                    queue.append(b)
        return levels if SINK in levels else {}

    def _path(
        self, levels: dict[Hashable, int], places: dict[Hashable, Iterator[Hashable]]
    ) -> list[tuple[Hashable, Hashable]]:
        """Edges of a way to the sink that goes up a level with each; none where there is no more."""
        path: list[tuple[Hashable, Hashable]] = []
        at: Hashable = SOURCE
        while at != SINK:
            step = next(
                (
                    b
                    for b in places[at]
                    if self.capacities[at][b] and levels.get(b, -1) == levels[at] + 1
                ),
                None,
            )
            if step is not None:
                path.append((at, step))
                at = step
            elif path:
                at = path.pop()[0]  # its place has moved past the dead end
            else:
                return []
        return path

    def _reaching(self) -> set[Hashable]:
        """What can still reach the sink."""
        found: set[Hashable] = {SINK}
        queue: deque[Hashable] = deque([SINK])
        while queue:
            b = queue.popleft()
            for a in self.capacities[b]:
                if a not in found and self.capacities[a].get(b, 0):
                    found.add(a)
                    queue.append(a)
        return found
