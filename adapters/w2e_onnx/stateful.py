"""Runs ONNX models that keep a state: what `w2e.state.…` of the metadata says is fed back from run to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from w2e_bridge.errors import MissingDependencyError, UsageError
from w2e_bridge.kernels.state import State, read_states

_TYPES = {
    "tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16",
    "tensor(int8)": "int8", "tensor(uint8)": "uint8", "tensor(int16)": "int16",
    "tensor(int32)": "int32", "tensor(int64)": "int64", "tensor(bool)": "bool",
}  # fmt: skip


class Stateful:
    """A session of ONNX Runtime that holds a model's states between runs.

    Example: `model = Stateful("model.onnx"); first = model.run(x); second = model.run(x)`.
    """

    def __init__(self, model: str | Path | bytes, **options: Any) -> None:
        """Open a model.

        Args:
            model: a file, or its bytes.
            options: attributes of `onnxruntime.SessionOptions`.

        Raises:
            MissingDependencyError: ONNX Runtime is not installed.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingDependencyError("pip install 'w2e-bridge[run]'") from error
        settings = onnxruntime.SessionOptions()
        for name, value in options.items():
            setattr(settings, name, value)
        source = model if isinstance(model, bytes) else str(model)
        self._session = onnxruntime.InferenceSession(
            source, settings, providers=["CPUExecutionProvider"]
        )
        self._inputs = {i.name: i for i in self._session.get_inputs()}
        self._outputs = [o.name for o in self._session.get_outputs()]
        metadata = self._session.get_modelmeta().custom_metadata_map
        self._states = read_states(metadata, list(self._inputs), self._outputs)
        self.reset()

    @property
    def states(self) -> Sequence[State]:
        """The model's states."""
        return tuple(self._states)

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs that are no states."""
        held = {state.input for state in self._states}
        return [name for name in self._inputs if name not in held]

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs that are no states."""
        held = {state.output for state in self._states}
        return [name for name in self._outputs if name not in held]

    def reset(self) -> None:
        """Begin anew."""
        self._held = {state.input: self._begin(state) for state in self._states}

    def run(self, *values: ArrayLike, **named: ArrayLike) -> list[NDArray[Any]]:
        """One run; the states are kept for the next one.

        Args:
            values: inputs in order.
            named: inputs by name.

        Returns:
            The outputs that are no states.

        Raises:
            UsageError: not the model's inputs.
        """
        feeds: Mapping[str, ArrayLike] = {**dict(zip(self.inputs, values, strict=False)), **named}
        if set(feeds) != set(self.inputs) or len(values) + len(named) != len(feeds):
            raise UsageError(f"the model's inputs are {', '.join(self.inputs)}")
        typed = {name: np.asarray(value, self._type(name)) for name, value in feeds.items()}
        results = self._session.run(None, {**typed, **self._held})
        found = dict(zip(self._outputs, results, strict=True))
        self._held = {state.input: found[state.output] for state in self._states}
        return [found[name] for name in self.outputs]

    def _type(self, name: str) -> str:
        return _TYPES.get(self._inputs[name].type, "float32")

    def _begin(self, state: State) -> NDArray[Any]:
        shape = [d if isinstance(d, int) else 1 for d in self._inputs[state.input].shape]
        initial = np.asarray(state.initial)
        whole = initial.reshape(shape) if initial.ndim else np.full(shape, initial)
        return whole.astype(self._type(state.input))
