"""One graph as the layout engine sees it: values as permutations of roots, and who reads them."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field, replace

import onnx_ir as ir

from w2e_bridge.graph.editing import Editor
from w2e_bridge.graph.inspecting import is_op, name_of
from w2e_bridge.ir.activation import ActivationQuantization
from w2e_bridge.ir.parts import AnyArray
from w2e_bridge.passes.layout.permutations import Perm, identity, inverse, then, valid
from w2e_bridge.passes.layout.site import Site, dims, is_constant

Activations = MutableMapping[str, ActivationQuantization]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias:
    """A value as a Transpose of another; the identity of itself where it is none."""

    root: ir.Value
    perm: Perm


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A place where a root is read.

    Attributes:
        node: the reader, None for an output of the graph and for whatever reads it in a body.
        slot: which input of it.
        perm: the permutation of the root that it reads.
    """

    node: ir.Node | None
    slot: int
    perm: Perm


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """A quantization that is said of the one Transpose of an unquantized value, and is the value's as well.

    Attributes:
        value: the Transpose.
        quantization: of what it transposes.
    """

    value: ir.Value
    quantization: ActivationQuantization


@dataclass(slots=True, kw_only=True)
class Scope:
    """A graph and what belongs to it.

    Attributes:
        graph: it.
        editor: edits it and the tensors.
        activations: quantization of values by name; edited along.
        opset: version of the standard operators.
        last: whether the goal is channels last.
        aliases: of values that were looked at.
        uses: of each root.
        turned: Transposes that are there, by root and permutation.
        raised: quantization of roots that only their Transpose says.
    """

    graph: ir.Graph
    editor: Editor
    activations: Activations
    opset: int
    last: bool
    aliases: dict[ir.Value, Alias] = field(default_factory=dict)
    uses: dict[ir.Value, list[Use]] = field(default_factory=dict)
    turned: dict[tuple[ir.Value, Perm], ir.Value] = field(default_factory=dict)
    raised: dict[ir.Value, Raised] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for node in self.graph:
            for output in node.outputs:
                self.alias(output)
        for node in self.graph:
            if self._transparent(node):
                continue
            for slot, value in enumerate(node.inputs):
                self._use(value, node, slot)
            for value in captured(node):
                self._use(value, None, 0)
        for value in self.graph.outputs:
            self._use(value, None, 0)

    def site(self, node: ir.Node) -> Site:
        """What rules ask of a node."""
        return Site(node=node, tensors=self.editor.tensors, opset=self.opset, last=self.last)

    def alias(self, value: ir.Value) -> Alias:
        """What a value is a Transpose of."""
        found = self.aliases.get(value)
        if found is None:
            self.aliases[value] = found = self._alias(value)
            if found.root is not value:
                self.turned.setdefault((found.root, found.perm), value)
        return found

    def _use(self, value: ir.Value | None, node: ir.Node | None, slot: int) -> None:
        if value is not None:
            alias = self.alias(value)
            self.uses.setdefault(alias.root, []).append(Use(node=node, slot=slot, perm=alias.perm))

    def _transparent(self, node: ir.Node) -> bool:
        return is_op(node, "Transpose") and self.alias(node.outputs[0]).root is not node.outputs[0]

    def _alias(self, value: ir.Value) -> Alias:
        shape, node = dims(value), value.producer()
        itself = Alias(root=value, perm=identity(len(shape or ())))
        if node is None or node.graph is not self.graph or not is_op(node, "Transpose"):
            return itself
        source = node.inputs[0]
        rank = None if source is None else len(dims(source) or ()) or len(shape or ())
        if source is None or not rank or (self.last and _belongs(source)):
            return itself
        listed = node.attributes.get("perm")
        perm = tuple(listed.as_ints()) if listed is not None else tuple(reversed(range(rank)))
        if not valid(perm, rank) or not self._same_numbers(source, value, perm):
            return itself
        before = self.alias(source)
        if len(before.perm) != rank:
            before = Alias(root=before.root, perm=identity(rank))
        return Alias(root=before.root, perm=then(before.perm, perm))

    def _same_numbers(self, source: ir.Value, value: ir.Value, perm: Perm) -> bool:
        """Whether reading one for the other loses no quantization; one that only the result has moves up."""
        before, after = (self.activations.get(name_of(v)) for v in (source, value))
        if after is None:
            return True
        if before is not None:
            return equal(permuted(before, perm), after)
        if len(source.uses()) > 1 or source.is_graph_output() or source.producer() is None:
            return False
        return self._raise(source, value, perm)

    def _raise(self, source: ir.Value, value: ir.Value, perm: Perm) -> bool:
        made = source.producer()
        if made is None or made.graph is not self.graph or is_op(made, "Transpose"):
            return False
        found = permuted(self.activations[name_of(value)], inverse(perm))
        self.raised[source] = Raised(value=value, quantization=found)
        return True


def _belongs(source: ir.Value) -> bool:
    """Whether the Transpose of a value is part of an operator of channels-last runtimes.

    That of a weight belongs to what reads it, that of the places of what is not zero to what finds them.
    """
    return is_constant(source) or is_op(source.producer(), "NonZero")


def captured(node: ir.Node) -> Iterator[ir.Value]:
    """Values of a node's own graph or of outer ones that its bodies read."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH and not attribute.is_ref():
            yield from _read(attribute.as_graph())


def _read(body: ir.Graph) -> Iterator[ir.Value]:
    own = {*body.inputs, *body.initializers.values()}
    own |= {output for node in body for output in node.outputs}
    for node in body:
        for value in [*node.inputs, *captured(node)]:
            if value is not None and value not in own:
                yield value
    yield from (value for value in body.outputs if value not in own)


def permuted(found: ActivationQuantization, perm: Perm) -> ActivationQuantization:
    """The quantization of a permuted value."""
    if found.axis is None:
        return found
    return replace(found, axis=inverse(perm)[found.axis % len(perm)])


def equal(a: ActivationQuantization, b: ActivationQuantization) -> bool:
    """Whether two quantizations say the same."""
    arrays = ((a.scale, b.scale), (a.zero_point, b.zero_point))
    plain = (a.codes, a.mode, a.granularity, a.axis, a.group, a.second_level)
    others = (b.codes, b.mode, b.granularity, b.axis, b.group, b.second_level)
    return plain == others and all(_same(x, y) for x, y in arrays)


def _same(a: AnyArray | None, b: AnyArray | None) -> bool:
    if a is None or b is None:
        present = b if a is None else a
        return present is None or not present.any()  # no zero point is one of 0
    return a.shape == b.shape and bool((a == b).all())
