"""Nodes that do nothing, and constants written as nodes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx_ir as ir

from w2e_bridge.graph.inspecting import is_weight, name_of
from w2e_bridge.passes.layout.scopes import equal
from w2e_bridge.passes.layout.site import Dim, is_constant
from w2e_bridge.passes.legalize.partial import known_of
from w2e_bridge.passes.legalize.place import Place
from w2e_bridge.passes.legalize.rules import Rule


def identity(place: Place) -> bool:
    """Identity(x) is x where both are quantized alike.

    before: y = Identity(x).
    after: x.
    why exact: nothing is rounded between them.
    """
    x, known = place.need(0), place.work.activations
    before, after = known.get(name_of(x)), known.get(name_of(place.output))
    alike = before is after or (before is not None and after is not None and equal(before, after))
    if not alike or is_constant(x):
        return False
    if after is not None and not place.output.is_graph_output():
        known.pop(name_of(place.output))
    return place.pass_on(x)


def dropout(place: Place) -> bool:
    """Dropout of a trained model does nothing.

    before: Dropout(x).
    after: x; a mask that is read is all true.
    why exact: onnx/onnx docs/Operators.md, Dropout: without training mode, output = input.
    """
    training = place.array(place.input(2))
    if place.input(2) is not None and (training is None or training.any()):
        return False
    if any(mask.uses() or mask.is_graph_output() for mask in place.node.outputs[1:]):
        return False
    if place.quantized(place.output) or place.output.is_graph_output():
        return place.replace(place.add("Identity", place.need(0)))
    return place.pass_on(place.need(0))


def cast(place: Place) -> bool:
    """Cast to the type that a value has.

    before: Cast(x, to=type of x).
    after: x.
    why exact: nothing changes.
    """
    x = place.need(0)
    if x.dtype is None or int(x.dtype) != place.integer("to") or place.quantized(x):
        return False
    return place.pass_on(x)


def constant_node(place: Place) -> bool:
    """Numbers that a Constant has in an attribute of their own.

    before: Constant(value_ints=…).
    after: an initializer.
    why exact: the same numbers.
    """
    for name, kind in (
        ("value_int", np.int64),
        ("value_ints", np.int64),
        ("value_float", np.float32),
        ("value_floats", np.float32),
    ):
        found = place.node.attributes.get(name)
        if found is not None and not found.is_ref() and not place.output.is_graph_output():
            return place.pass_on(place.constant(np.asarray(found.value, kind), kind))
    return False


def reshape(place: Place) -> bool:
    """A shape that is computed, of which at most one number is unknown.

    before: Reshape(x, shape computed from shapes).
    after: Reshape(x, constant), -1 for the number that is not known beforehand.
    why exact: there is only one number that fits.
    """
    target = place.input(1)
    if target is None or is_constant(target):
        return False
    found = known_of(target, place.work.editor.tensors)
    if found is None or found.scalar or not any(isinstance(n, int) for n in found.numbers):
        return False
    numbers = _settled(place, list(found.numbers))
    if numbers.count(-1) > 1 or 0 in numbers:
        return False
    return _with_shape(place, numbers)


def _settled(place: Place, numbers: list[Dim]) -> list[int]:
    """A shape whose own -1 is worked out, so that the extent known at run time only can be -1."""
    shape = place.shape(place.need(0)) or (None,)
    names = [n for n in numbers if not isinstance(n, int)]
    free = [i for i, n in enumerate(numbers) if n == -1]
    same = sorted(map(str, names)) == sorted(str(n) for n in shape if not isinstance(n, int))
    if names and len(free) == 1 and same and None not in names:
        rest = math.prod(n for n in numbers if isinstance(n, int) and n != -1)
        whole = math.prod(n for n in shape if isinstance(n, int))
        if rest > 0 and whole % rest == 0:
            numbers[free[0]] = whole // rest
    return [n if isinstance(n, int) else -1 for n in numbers]


def _with_shape(place: Place, numbers: list[int]) -> bool:
    node = ir.Node("", "Reshape", [place.need(0), place.constant(numbers)])
    node.outputs[0].name = place.work.editor.free(f"{name_of(place.output)}.shaped")
    graph = place.node.graph
    assert isinstance(graph, ir.Graph)
    graph.insert_before(place.node, node)
    return place.replace(node.outputs[0])


def expand(place: Place) -> bool:
    """Expand to a shape that is the input's already, or one that shapes decide.

    before: Expand(x, shape computed from shapes).
    after: x; or Expand(x, constant), 1 where the input's own extent stays.
    why exact: extents of 1 are what Expand leaves as they are.
    """
    x, target = place.need(0), place.need(1)
    shape, found = place.shape(x), known_of(target, place.work.editor.tensors)
    if shape is None or found is None or found.scalar or len(found.numbers) > len(shape):
        return False
    own = shape[len(shape) - len(found.numbers) :]
    numbers = [
        1 if n == m and n is not None else n for n, m in zip(found.numbers, own, strict=True)
    ]
    if all(n == 1 for n in numbers):
        return place.pass_on(x)
    if is_constant(target) or any(not isinstance(n, int) for n in numbers):
        return False
    return place.replace(
        place.add("Expand", x, place.constant([int(n) for n in numbers if n is not None]))
    )


def flatten(place: Place) -> bool:
    """Flatten is a Reshape.

    before: Flatten(x, axis).
    after: Reshape(x, [rows, columns]), -1 for the one that is not known.
    why exact: elements keep their order.
    """
    shape = place.shape(place.need(0))
    if shape is None:
        return False
    axis = place.integer("axis", 1)
    axis += len(shape) if axis < 0 else 0
    halves = (shape[:axis], shape[axis:])
    numbers = [
        math.prod(int(n) for n in half if n is not None)
        if all(isinstance(n, int) for n in half)
        else -1
        for half in halves
    ]
    return numbers.count(-1) < 2 and _with_shape(place, numbers)


def _product(extents: tuple[Dim, ...]) -> int:
    """How many elements, -1 where that isn't known."""
    known = [n for n in extents if isinstance(n, int)]
    return math.prod(known) if len(known) == len(extents) else -1


PARAMETERS: Mapping[str, tuple[int, ...]] = {
    "Clip": (1, 2),
    "OneHot": (1, 2),
    "Pad": (2,),
    "Resize": (1, 2),
    "Range": (0, 1, 2),
}
"""Inputs that say how an operator computes, by operator: no weights, whatever their type."""


def parameters(place: Place) -> bool:
    """Numbers that are part of the computation rather than weights.

    before: Resize(x, scales), scales a tensor of the model.
    after: the same with a constant of the graph.
    why exact: the same numbers.
    """
    changed = False
    for slot in PARAMETERS[place.node.op_type]:
        value = place.input(slot)
        array = place.array(value) if is_weight(value) else None
        if array is not None:
            place.node.replace_input_with(slot, place.constant(array, array.dtype))
            place.work.forget(value)
            changed = True
    return changed


RULES: Mapping[str, tuple[Rule, ...]] = {
    **dict.fromkeys(PARAMETERS, (parameters,)),
    "Identity": (identity,),
    "Dropout": (dropout,),
    "Cast": (cast,),
    "Constant": (constant_node,),
    "Reshape": (reshape,),
    "Expand": (expand,),
    "Flatten": (flatten,),
}
