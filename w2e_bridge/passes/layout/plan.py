"""Which nodes of a graph follow a layout, so that the fewest Transposes are needed.

The layout of a root (a value that no Transpose makes) is either its own or its goal. Goals spread from the
operators that are bound to a layout through everything that follows. Each node that follows is then put
on one side or the other by a minimum cut: a Transpose costs one, however many read it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import onnx_ir as ir

from w2e_bridge.passes.layout.cut import ENDLESS, SINK, SOURCE, Network
from w2e_bridge.passes.layout.permutations import (
    Perm,
    identity,
    inverse,
    still,
    then,
    to_last,
)
from w2e_bridge.passes.layout.rules import Change
from w2e_bridge.passes.layout.scopes import Scope, Use
from w2e_bridge.passes.layout.site import Site, dims, is_constant
from w2e_bridge.passes.layout.table import Row, bound, row_of

_TRANSPOSE = 1 << 20
"""Cost of one; that of following for nothing is 1."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Follow:
    """How a node follows.

    Attributes:
        inputs: permutation of each input that is permuted with it.
        output: permutation of its outputs, None where they have no axes to permute.
        change: what else becomes of it.
        lifted: inputs of a lower rank that have to be permuted at run time.
        broadcast: whether other inputs are broadcast to the first.
    """

    inputs: dict[int, Perm]
    output: Perm | None
    change: Change
    lifted: tuple[int, ...]
    broadcast: bool


@dataclass(slots=True, kw_only=True)
class Plan:
    """What is to be done.

    Attributes:
        scope: the graph.
        goals: the permutation that a root should have.
        follows: how each node follows that may.
        bound: nodes bound to a layout, and the inputs that they are bound by.
        idle: nodes that are reached from a Transpose only: they follow where it saves something.
    """

    scope: Scope
    goals: dict[ir.Value, Perm] = field(default_factory=dict)
    follows: dict[ir.Node, Follow] = field(default_factory=dict)
    bound: dict[ir.Node, tuple[int, ...]] = field(default_factory=dict)
    idle: set[ir.Node] = field(default_factory=set)

    def following(self) -> set[ir.Node]:
        """The nodes that do follow."""
        self._seed()
        reached = set(self.follows)
        if not self.scope.last:
            self._seed_transposes()
        self.idle = set(self.follows) - reached
        stay = self._network().with_sink()
        return {node for node in self.follows if node not in stay}

    def wanted(self, node: ir.Node, slot: int, perm: Perm) -> Perm:
        """What a bound node reads: channels last in, or as it stands in the file."""
        return then(perm, to_last(len(perm))) if self.scope.last else perm

    def _seed(self) -> None:
        todo: list[tuple[ir.Value, Perm]] = []
        for node in self.scope.graph:
            site = self.scope.site(node)
            slots = bound(site)
            if not slots:
                continue
            self.bound[node] = slots
            for slot in slots:
                alias = self.scope.alias(_given(node, slot))
                todo.append((alias.root, self.wanted(node, slot, alias.perm)))
            rank = site.rank(0) or 0
            made = to_last(rank) if self.scope.last else identity(rank)
            todo.append((node.outputs[0], made))
        # Outputs first: of a chain of bound operators, each has what the one before makes.
        for root, goal in sorted(todo, key=lambda item: item[0].producer() not in self.bound):
            self._aim(root, goal)

    def _seed_transposes(self) -> None:
        for root, uses in self.scope.uses.items():
            if any(not still(use.perm) for use in uses):
                self._aim(root, identity(len(uses[0].perm)))

    def _aim(self, root: ir.Value, goal: Perm) -> None:
        todo = [(root, goal)]
        while todo:
            value, perm = todo.pop(0)
            shape = dims(value)
            if value in self.goals or is_constant(value) or len(shape or ()) != len(perm):
                continue
            self.goals[value] = perm
            todo += self._spread(value, perm)

    def _spread(self, root: ir.Value, goal: Perm) -> Iterator[tuple[ir.Value, Perm]]:
        made = root.producer()
        if made is not None and made.graph is self.scope.graph:
            yield from self._join(made, None, goal)
        for use in self.scope.uses.get(root, ()):
            if use.node is not None:
                yield from self._join(use.node, use.slot, then(inverse(use.perm), goal))

    def _join(self, node: ir.Node, slot: int | None, perm: Perm) -> Iterator[tuple[ir.Value, Perm]]:
        if node in self.follows or node in self.bound:
            return
        site = self.scope.site(node)
        row = row_of(site)
        found = None if row is None else follow(row, site, slot, perm)
        if found is None:
            return
        self.follows[node] = found
        for other, own in found.inputs.items():
            alias = self.scope.alias(_given(node, other))
            yield alias.root, then(alias.perm, own)
        if found.output is not None:
            yield from ((output, found.output) for output in node.outputs)

    def _network(self) -> Network:
        network = Network()
        for node in self.bound:
            network.cost(SOURCE, node, ENDLESS)
        for node, found in self.follows.items():
            network.cost(node, SINK, _TRANSPOSE * len(found.lifted) + (node in self.idle))
        for root, uses in self.scope.uses.items():
            if not is_constant(root):
                _Costs(plan=self, network=network, root=root).add(uses)
        return network


@dataclass(slots=True, kw_only=True)
class _Costs:
    """What the Transposes of one root cost."""

    plan: Plan
    network: Network
    root: ir.Value

    def add(self, uses: list[Use]) -> None:
        """Put them into the network."""
        always: set[Perm] = set()
        if_following: dict[Perm, set[ir.Node]] = {}
        if_staying: dict[Perm, set[ir.Node]] = {}
        for use in uses:
            stays, follows = self._needs(use)
            if stays == follows or use.node is None:
                always.add(stays)
            else:
                if_staying.setdefault(stays, set()).add(use.node)
                if_following.setdefault(follows, set()).add(use.node)
        for perm in always:
            self._always(perm)
        for perm, nodes in if_following.items():
            if perm not in always:
                self._if_following(perm, nodes)
        for perm, nodes in if_staying.items():
            if perm not in always:
                self._if_staying(perm, nodes)

    def _needs(self, use: Use) -> tuple[Perm, Perm]:
        """The permutations that a reader needs where it stays as it is and where it follows."""
        node = use.node
        if node is None:
            return use.perm, use.perm
        if use.slot in self.plan.bound.get(node, ()):
            wanted = self.plan.wanted(node, use.slot, use.perm)
            return wanted, wanted
        found = self.plan.follows.get(node)
        own = None if found is None else found.inputs.get(use.slot)
        return use.perm, use.perm if own is None else then(use.perm, own)

    @property
    def _made(self) -> object:
        node = self.root.producer()
        plan = self.plan
        return node if node is not None and (node in plan.follows or node in plan.bound) else SINK

    def _is_own(self, perm: Perm) -> bool:
        """Whether it is what the root has where its maker stays."""
        return still(perm)

    def _is_goal(self, perm: Perm) -> bool:
        return perm == self.plan.goals.get(self.root, identity(len(perm)))

    def _always(self, perm: Perm) -> None:
        if self._is_own(perm) and not self._is_goal(perm):
            self.network.cost(self._made, SINK, _TRANSPOSE)
        elif self._is_goal(perm) and not self._is_own(perm):
            self.network.cost(SOURCE, self._made, _TRANSPOSE)

    def _if_following(self, perm: Perm, nodes: set[ir.Node]) -> None:
        own, goal, either = self._is_own(perm), self._is_goal(perm), ("follow", self.root, perm)
        if own and (goal or self._made == SINK):
            return
        for node in nodes:
            self.network.cost(node, either, ENDLESS)
        self.network.cost(either, self._made if goal else SINK, _TRANSPOSE)

    def _if_staying(self, perm: Perm, nodes: set[ir.Node]) -> None:
        own, goal, either = self._is_own(perm), self._is_goal(perm), ("stay", self.root, perm)
        if (own and goal) or (goal and self._made in self.plan.bound):
            return
        for node in nodes:
            self.network.cost(either, node, ENDLESS)
        self.network.cost(self._made if own else SOURCE, either, _TRANSPOSE)


def _given(node: ir.Node, slot: int) -> ir.Value:
    value = node.inputs[slot]
    assert value is not None
    return value


def follow(row: Row, site: Site, slot: int | None, perm: Perm) -> Follow | None:
    """How a node follows where one of its inputs, or its output, is permuted; None where it doesn't."""
    slots = row.slots(site)
    if not slots or (slot is not None and slot not in slots):
        return None
    before = perm if slot is not None else row.inward(site, perm)
    if before is None or any(site.rank(s) != len(before) for s in slots):
        return None
    after = perm if slot is None else row.outward(site, before)
    change = None if after is None else row.remap(site, before, after)
    if after is None or change is None:
        return None
    broadcast = row.data is None
    lower = [i for i in range(len(site.node.inputs)) if i not in slots] if broadcast else []
    return Follow(
        inputs=dict.fromkeys(slots, before),
        output=None if row.bare else after,
        change=change,
        lifted=tuple(i for i in lower if _lifted(site, i)),
        broadcast=broadcast,
    )


def _lifted(site: Site, slot: int) -> bool:
    value = site.input(slot)
    shape = dims(value)
    if value is None or is_constant(value):
        return False
    return shape is None or any(n != 1 for n in shape)
