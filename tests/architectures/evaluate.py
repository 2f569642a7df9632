"""Runs a model with a graph in ONNX Runtime, its weights decoded and filled in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray

from w2e_bridge.ir.model import Model

Array = NDArray[np.float32]


def filled(model: Model) -> bytes:
    """The graph as an ONNX file with all weights inside."""
    assert model.graph is not None
    copy = model.graph.clone()
    for name, value in copy.graph.initializers.items():
        if name in model.tensors:
            value.const_value = ir.tensor(model.tensors[name].dequantize(), name=name)
    return bytes(ir.serde.serialize_model(copy).SerializeToString())


class Runner:
    """A session that keeps the cache between calls."""

    def __init__(self, model: Model | Path) -> None:
        """A session.

        Args:
            model: with a graph; or the file that it was lowered to.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(
            str(model) if isinstance(model, Path) else filled(model),
            options,
            providers=["CPUExecutionProvider"],
        )
        self.names = [output.name for output in self.session.get_outputs()]
        self.reset()

    def reset(self, batch: int = 1) -> None:
        """Forget everything."""
        self.past = {
            value.name: np.zeros((batch, value.shape[1], 0, value.shape[3]), np.float32)
            for value in self.session.get_inputs()
            if value.name.startswith("past")
        }

    def step(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> Array:
        """Logits of new tokens [batch, sequence] under a mask over all tokens so far."""
        feeds = {"input_ids": ids, "attention_mask": mask, **self.past}
        found = dict(zip(self.names, self.session.run(None, feeds), strict=True))
        self.past = {name: found[name.replace("past_key_values", "present")] for name in self.past}
        logits: Array = found["logits"]
        return logits

    def logits(self, ids: NDArray[np.int64], pieces: Sequence[int]) -> Array:
        """Logits of one text, (tokens, vocabulary), in pieces of so many tokens."""
        self.reset()
        done, found = 0, []
        for count in pieces:
            new = ids[None, done : done + count]
            done += count
            found.append(self.step(new, np.ones((1, done), np.int64))[0])
        return np.concatenate(found)
