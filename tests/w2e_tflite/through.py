"""Files to models and back, as a conversion does it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.w2e_tflite.maker import litert, some_inputs
from w2e_bridge.formats.spec import Request
from w2e_bridge.ir.model import Model
from w2e_bridge.negotiation.negotiate import negotiate
from w2e_bridge.passes.pipelines import prepare
from w2e_bridge.stream.pipeline import write
from w2e_tflite.profiles import TFLITE
from w2e_tflite.read import lift
from w2e_tflite.write import lower


def lifted(data: bytes, folder: Path) -> Model:
    """A file of these bytes, read."""
    path = folder / "source.tflite"
    path.write_bytes(data)
    return lift(path, {})


def written(model: Model, folder: Path) -> bytes:
    """A model, written."""
    request = Request(profile=TFLITE.name)
    prepared = prepare(model, TFLITE, request).model
    output = lower(prepared, negotiate(prepared, TFLITE, request), request)
    folder.mkdir(exist_ok=True)
    path = folder / "model.tflite"
    path.unlink(missing_ok=True)
    write(output, folder, name=lambda name: name.replace("{stem}", "model"), threads=1)
    return path.read_bytes()


def through(data: bytes, folder: Path) -> bytes:
    """A file, read and written again."""
    return written(lifted(data, folder), folder / "out")


def same_in_litert(one: bytes, other: bytes, *, steps: int = 3, reference: bool = True) -> None:
    """Both kernel sets give the same for both files, over some steps with the state kept."""
    runs = [some_inputs(one, seed) for seed in range(steps)]
    for kernels in (False, True) if reference else (False,):
        want = litert(one, *runs, reference=kernels)
        got = litert(other, *runs, reference=kernels)
        for step, (w, g) in enumerate(zip(want, got, strict=True)):
            for index, (a, b) in enumerate(zip(w, g, strict=True)):
                assert a.dtype == b.dtype
                np.testing.assert_array_equal(a, b, err_msg=f"step {step}, output {index}")
