"""Bodies of control flow: with what they read from outside as inputs of their own, or the other way round.

TensorFlow Lite's subgraphs have explicit inputs and see nothing else; ONNX's read the values of the graphs
around them. Weights have no scope: their names are the model's, so a graph may hold a stub of any.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import onnx_ir as ir

from w2e_bridge.graph.inspecting import name_of

Names = Callable[[str], str]
"""What a copy of a value is called."""


def same_name(name: str) -> str:
    """Copies that keep their names: for graphs that see no others."""
    return name


def like(value: ir.Value, name: str) -> ir.Value:
    """A value of the same type and shape that nothing makes."""
    shape = None if value.shape is None else value.shape.copy()
    return ir.Value(name=name, type=value.type, shape=shape)


def is_constant(value: ir.Value) -> bool:
    """Whether a value is an initializer of some graph."""
    return value.is_initializer()


def copied(
    nodes: Iterable[ir.Node], mapping: dict[ir.Value, ir.Value], rename: Names = same_name
) -> list[ir.Node]:
    """Copies of nodes, their bodies included.

    Args:
        nodes: sorted.
        mapping: what is read in the place of a value; the copies' outputs are added. What is not in it is
            read as it is.
        rename: names of what the copies make.
    """
    return [_copy(node, mapping, rename) for node in nodes]


def _copy(node: ir.Node, mapping: dict[ir.Value, ir.Value], rename: Names) -> ir.Node:
    outputs = [like(value, rename(name_of(value)) if value.name else "") for value in node.outputs]
    attributes = [_attribute(attribute, mapping, rename) for attribute in node.attributes.values()]
    made = ir.Node(
        node.domain,
        node.op_type,
        [None if value is None else mapping.get(value, value) for value in node.inputs],
        attributes,
        outputs=outputs,
        name=rename(node.name) if node.name else None,
    )
    mapping.update(zip(node.outputs, outputs, strict=True))
    return made


def _attribute(attribute: ir.Attr, mapping: dict[ir.Value, ir.Value], rename: Names) -> ir.Attr:
    if attribute.is_ref() or attribute.type != ir.AttributeType.GRAPH:
        return attribute
    graph = attribute.as_graph()
    return ir.Attr(
        attribute.name, ir.AttributeType.GRAPH, _copy_graph(graph, dict(mapping), rename)
    )


def _copy_graph(graph: ir.Graph, mapping: dict[ir.Value, ir.Value], rename: Names) -> ir.Graph:
    inputs = [like(value, rename(name_of(value))) for value in graph.inputs]
    mapping.update(zip(graph.inputs, inputs, strict=True))
    initializers = []
    for value in graph.initializers.values():
        mapping[value] = like(value, name_of(value))
        mapping[value].const_value = value.const_value
        initializers.append(mapping[value])
    nodes = copied(graph, mapping, rename)
    outputs = [mapping.get(value, value) for value in graph.outputs]
    return ir.Graph(
        inputs, outputs, nodes=nodes, initializers=initializers, opset_imports={}, name=graph.name
    )


def read_outside(graphs: Iterable[ir.Graph]) -> list[ir.Value]:
    """What bodies read from the graphs around them, constants included, in the order of first use."""
    found: dict[ir.Value, None] = {}
    for graph in graphs:
        inner = set(graph.inputs) | set(graph.initializers.values())
        for node in graph:
            for value in (*node.inputs, *read_outside(bodies_of(node))):
                if value is not None and value not in inner:
                    found[value] = None
            inner.update(node.outputs)
        for value in graph.outputs:
            if value not in inner:
                found[value] = None
    return list(found)


def bodies_of(node: ir.Node) -> list[ir.Graph]:
    """The graphs among a node's attributes."""
    return [
        attribute.as_graph()
        for attribute in node.attributes.values()
        if attribute.type == ir.AttributeType.GRAPH and not attribute.is_ref()
    ]


def closed(
    name: str,
    nodes: Iterable[ir.Node],
    inputs: Mapping[ir.Value, ir.Value],
    outputs: Sequence[ir.Value],
) -> ir.Graph:
    """A copy of nodes as a graph that reads nothing from outside but its inputs.

    Args:
        name: of the graph.
        nodes: sorted.
        inputs: what the nodes read to the graph's inputs, in their order. Constants need not be there: the
            graph gets copies of them.
        outputs: values that the nodes read or make.
    """
    mapping = dict(inputs)
    chosen = list(nodes)
    view = ir.Graph([], [], nodes=[], name=name)
    made = {value for node in chosen for value in node.outputs}
    read = [value for node in chosen for value in (*node.inputs, *read_outside(bodies_of(node)))]
    for value in (*read, *outputs):
        if value is None or value in mapping or value in made or not is_constant(value):
            continue
        mapping[value] = like(value, name_of(value))
        mapping[value].const_value = value.const_value
        view.register_initializer(mapping[value])
    copies = copied(chosen, mapping)
    view.inputs.extend(inputs.values())
    view.extend(copies)
    view.outputs.extend(mapping[value] for value in outputs)
    return view


def opened(graph: ir.Graph, actual: Sequence[ir.Value]) -> None:
    """Make a graph read values of the graph around it in the place of its inputs, which go."""
    for formal, value in zip(list(graph.inputs), actual, strict=True):
        formal.replace_all_uses_with(value, replace_graph_outputs=True)
    graph.inputs.clear()


def own_outputs(graph: ir.Graph, rename: Names) -> dict[ir.Value, ir.Value]:
    """Give outputs that no node of a graph makes, or that are there twice, an `Identity`, as ONNX wants.

    Returns:
        New output to what it is the same as.
    """
    own = {value for node in graph for value in node.outputs}
    made: dict[ir.Value, ir.Value] = {}
    for index, value in enumerate(list(graph.outputs)):
        if value in own:
            own.remove(value)
            continue
        output = like(value, rename(f"{name_of(value)}.same"))
        graph.append(ir.node("Identity", [value], outputs=[output]))
        graph.outputs[index] = output
        made[output] = value
    return made


def hoist(graph: ir.Graph, outer: ir.Graph) -> None:
    """Move a body's constants to the graph around it; one of the same name there is the same one."""
    for name, value in list(graph.initializers.items()):
        del graph.initializers[name]
        known = outer.initializers.get(name)
        if known is None:
            outer.register_initializer(value)
        else:
            value.replace_all_uses_with(known, replace_graph_outputs=True)


def cone(value: ir.Value, borders: Iterable[ir.Value]) -> list[ir.Node] | None:
    """The nodes that make a value out of `borders` and what is outside of its graph, sorted.

    None where it also depends on an input of the graph that is no border.
    """
    graph, limits = value.graph, set(borders)
    found: set[ir.Node] = set()
    todo = [value]
    while todo:
        current = todo.pop()
        node = current.producer()
        if current in limits or current.graph is not graph:
            continue
        if node is None:
            if is_constant(current):
                continue
            return None
        if node not in found:
            found.add(node)
            todo += [v for v in (*node.inputs, *read_outside(bodies_of(node))) if v is not None]
    return [node for node in graph if node in found] if graph is not None else []


def alike(a: ir.Value, b: ir.Value, pairs: Mapping[ir.Value, ir.Value]) -> bool:
    """Whether two values are the same function, `pairs` of values taken to be the same."""
    todo: list[tuple[ir.Value | None, ir.Value | None]] = [(a, b)]
    seen: set[tuple[ir.Value, ir.Value]] = set()
    while todo:
        x, y = todo.pop()
        if x is y:
            continue
        if x is None or y is None:
            return False
        if (x, y) in seen:
            continue
        seen.add((x, y))
        if x in pairs:
            if pairs[x] is not y and not _same_constant(pairs[x], y):
                return False
            continue
        first, second = x.producer(), y.producer()
        if first is None or second is None:
            if not _same_constant(x, y):
                return False
            continue
        if x.index() != y.index() or not _same_node(first, second):
            return False
        todo += zip(first.inputs, second.inputs, strict=True)
    return True


def _same_node(a: ir.Node, b: ir.Node) -> bool:
    """Whether two nodes do the same with their operands."""
    if a.op_identifier() != b.op_identifier() or len(a.inputs) != len(b.inputs):
        return False
    if a.attributes.keys() != b.attributes.keys() or bodies_of(a) or bodies_of(b):
        return False
    return all(_same_attribute(x, b.attributes[name]) for name, x in a.attributes.items())


def _same_attribute(a: ir.Attr, b: ir.Attr) -> bool:
    if a.type != b.type or a.is_ref() or b.is_ref():
        return False
    if a.type == ir.AttributeType.TENSOR:
        x, y = a.as_tensor(), b.as_tensor()
        return x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
    return bool(a.value == b.value)


def _same_constant(a: ir.Value, b: ir.Value) -> bool:
    if not (is_constant(a) and is_constant(b)):
        return False
    x, y = a.const_value, b.const_value
    if x is None or y is None or x.name == y.name or x.dtype != y.dtype or x.shape != y.shape:
        return x is not None and y is not None and x.name == y.name
    try:
        return x.tobytes() == y.tobytes()
    except NotImplementedError:  # a stub: the same weight has the same name
        return False
