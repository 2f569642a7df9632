"""Whether a tensor's bytes must be kept as the source has them, for the way back to be byte-equal."""

from __future__ import annotations

import numpy as np

from w2e_bridge.graph.planes import PLAIN_PREFIX
from w2e_bridge.ir.tensor import Tensor
from w2e_bridge.protocol.manifest import LayoutRecord
from w2e_safetensors.storage import KeptStorage


def needs_native(tensor: Tensor) -> bool:
    """Whether packing the codes again would not give the bytes of the source.

    What can be packed gives back every block that a quantizer writes: that is a layout's promise. Only a
    layout that says it is redundant is looked at, since that costs reading the tensor.
    """
    layout = tensor.storage.layout
    if layout is None:
        return False
    if layout.pack is None:
        return True
    if not layout.redundant:
        return False
    for start, stop in tensor.spans():
        raw = tensor.storage.raw(start, stop)
        again = layout.pack(tensor.storage.parts(start, stop))
        if not np.array_equal(np.asarray(again).reshape(-1).view(np.uint8), raw.reshape(-1)):
            return True
    return False


def layout_record(tensor: Tensor) -> LayoutRecord | None:
    """How the source packed a tensor, where that has a name of its own."""
    storage, layout = tensor.storage, tensor.storage.layout
    if isinstance(storage, KeptStorage):
        return storage.record
    if layout is None or layout.name.startswith(PLAIN_PREFIX):
        return None
    return LayoutRecord(
        name=layout.name,
        label=layout.label,
        elements=layout.elements,
        bytes=layout.bytes,
        native=needs_native(tensor),
    )
