"""In which order channels-last operators keep their weights."""

from __future__ import annotations

from w2e_bridge.graph.inspecting import is_op
from w2e_bridge.passes.layout.permutations import Perm
from w2e_bridge.passes.layout.site import Site, dims

CONVOLUTION: dict[int, Perm] = {3: (0, 2, 1), 4: (0, 2, 3, 1), 5: (2, 3, 4, 1, 0)}
"""Rank to the order of weights in terms of ONNX's (O, I, space): OWI, OHWI, DHWIO."""

DEPTHWISE: dict[int, Perm] = {3: (1, 2, 0), 4: (1, 2, 3, 0)}
"""Likewise of one filter for each channel: 1WC, 1HWC."""

TRANSPOSED: dict[int, Perm] = {3: (1, 2, 0), 4: (1, 2, 3, 0), 5: (2, 3, 4, 1, 0)}
"""Likewise in terms of a transposed convolution's (I, O, space): OWI, OHWI, DHWOI."""


def stored_order(site: Site) -> tuple[int, Perm] | None:
    """The input with the weights and the order they are kept in, None where they are kept so or there are none."""
    node = site.node
    shape = dims(site.input(1)) if node.op_type in ("Conv", "ConvTranspose") else None
    value = site.input(1)
    if shape is None or value is None or is_op(value.producer(), "Transpose"):
        return None
    table = CONVOLUTION if node.op_type == "Conv" else TRANSPOSED
    group = site.integer("group", 1)
    if node.op_type == "Conv" and group > 1 and shape[1] == 1 and len(shape) in DEPTHWISE:
        table = DEPTHWISE
    perm = table.get(len(shape))
    return None if perm is None else (1, perm)
