"""TFLite to ONNX and back beside tf2onnx and onnx2tf: codes kept, largest difference, speed, size.

    python benchmarks/tflite.py [--tf2onnx PYTHON] [--onnx2tf EXECUTABLE] [--models FOLDER]

The other tools are big and disagree about their dependencies, so each is installed in an environment of its
own, only for this (`pip install tf2onnx tensorflow-cpu`; `pip install onnx2tf`, Python 3.12); what is not
given is left out of the table. The models are the repository's own. Of each conversion:

- codes: the share of the weights' bytes that are in the output, byte for byte (either order of axes)
- difference: from LiteRT's default kernels on the source (there) or from ONNX Runtime on the source (back),
  in units of the last place; random inputs
- run: time of one inference of the output over that of the source in its own runtime, one thread
- size: of the output over that of the source
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FIXTURES = Path(__file__).parent.parent / "fixtures" / "tflite"
NAMES = ("convnet_int8", "convnet_uint8_old", "mobile_int8", "unet_int8", "lstm_int8")
Arrays = list[NDArray[Any]]
Run = Callable[[Arrays], Arrays]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What was measured of one conversion."""

    model: str
    tool: str
    codes: str = ""
    difference: str = ""
    run: str = ""
    size: str = ""
    seconds: str = ""


def weights(path: Path) -> list[NDArray[np.uint8]]:
    """Constants of one byte a code with at least 64 of them, as bytes."""
    if path.suffix == ".onnx":
        import onnx
        from onnx import numpy_helper

        arrays = [numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer]
    else:
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(path), experimental_preserve_all_tensors=True)
        arrays = list(_constants(interpreter))
    narrow = [a for a in arrays if a.dtype in (np.int8, np.uint8) and a.size >= 64]
    return [np.ascontiguousarray(a).view(np.uint8) for a in narrow]


def _constants(interpreter: Any) -> Iterator[NDArray[Any]]:
    made = {i for op in interpreter._get_ops_details() for i in op["outputs"]}
    made |= {d["index"] for d in interpreter.get_input_details()}
    for detail in interpreter.get_tensor_details():
        if detail["index"] not in made and detail["name"]:
            try:
                yield interpreter.get_tensor(detail["index"])
            except ValueError:
                continue


def kept(source: Path, output: Path) -> str:
    """The share of the source's weights whose codes are in the output."""
    there = [np.sort(a.reshape(-1)) for a in weights(output)]
    there += [a ^ np.uint8(128) for a in there]
    there = [np.sort(a) for a in there]
    total = found = 0
    for codes in weights(source):
        flat = np.sort(codes.reshape(-1))
        total += flat.size
        found += flat.size * any(a.size == flat.size and np.array_equal(a, flat) for a in there)
    return f"{found / total:.0%}" if total else "-"


def onnx_runner(path: Path) -> Run:
    """Inference by ONNX Runtime, one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    inputs, said = session.get_inputs(), session.get_modelmeta().custom_metadata_map
    states = [i for i in inputs if f"w2e.state.{i.name}.initial" in said]
    first = {i.name: _start(i, said[f"w2e.state.{i.name}.initial"]) for i in states}
    names = [i.name for i in inputs if i.name not in first]
    count = len(session.get_outputs()) - len(first)

    def run(values: Arrays) -> Arrays:
        result: Arrays = session.run(None, dict(zip(names, values, strict=False)) | first)
        return result[:count]

    return run


def _start(value: Any, initial: str) -> NDArray[Any]:
    """What a state begins with."""
    kinds = {"tensor(float)": np.float32, "tensor(int8)": np.int8, "tensor(int16)": np.int16}
    return np.full(value.shape, float(initial), kinds[value.type])


def litert_runner(path: Path) -> Run:
    """Inference by LiteRT's default kernels, one thread."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    details, outputs = interpreter.get_input_details(), interpreter.get_output_details()

    def run(values: Arrays) -> Arrays:
        interpreter.reset_all_variables()  # each run is the first
        for detail, value in zip(details, values, strict=True):
            interpreter.set_tensor(detail["index"], value)
        interpreter.invoke()
        return [interpreter.get_tensor(d["index"]).copy() for d in outputs]

    return run


def inputs_of(path: Path) -> list[Arrays]:
    """Random inputs of a TFLite model."""
    from ai_edge_litert.interpreter import Interpreter

    random = np.random.default_rng(7)
    found = []
    for _ in range(20):
        step = []
        for detail in Interpreter(str(path)).get_input_details():
            shape, dtype = detail["shape"], detail["dtype"]
            if np.issubdtype(dtype, np.integer):
                info = np.iinfo(dtype)
                step.append(random.integers(info.min, info.max, shape, dtype, endpoint=True))
            else:
                step.append(random.normal(size=shape).astype(dtype))
        found.append(step)
    return found


def difference(a: Run, b: Run, feeds: list[Arrays]) -> str:
    """The largest difference of two runtimes' outputs, and the share that differs."""
    largest = differing = total = 0
    for feed in feeds:
        for x, y in zip(a(feed), b(feed), strict=True):
            if x.shape != y.shape or x.dtype != y.dtype:
                return f"{y.dtype}{list(y.shape)} instead of {x.dtype}{list(x.shape)}"
            gap = np.abs(x.astype(np.float64) - y.astype(np.float64))
            largest = max(largest, gap.max(initial=0))
            differing, total = differing + int((gap > 0).sum()), total + gap.size
    return f"{largest:.3g} ({differing / max(total, 1):.1%})"


def duration(run: Run, feed: Arrays) -> float:
    """Median seconds of an inference."""
    times = []
    for _ in range(120):
        start = time.perf_counter()
        run(feed)
        times.append(time.perf_counter() - start)
    return statistics.median(times[20:])


def convert(command: list[str], made: Path) -> tuple[float, str]:
    """Run a converter; seconds, and what it said where nothing came of it."""
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if made.exists():
        return seconds, ""
    said = (done.stderr or done.stdout).strip().splitlines()
    return seconds, (said[-1] if said else f"exit code {done.returncode}")[:70]


def fitted(run: Run, feed: Arrays) -> Run | None:
    """The same inference for inputs of another order of axes (an image that was taken for channels first)."""

    def turned(values: Arrays) -> Arrays:
        return run([v.transpose(0, 3, 1, 2) if v.ndim == 4 else v for v in values])

    for way in (run, turned):
        try:
            way(feed)
        except Exception:  # whatever a runtime says of inputs that it does not take
            continue
        return way
    return None


def measured(model: str, tool: str, source: Path, command: list[str], made: Path) -> Row:
    """Convert, and compare the output with the source."""
    seconds, problem = convert(command, made)
    if problem:
        return Row(model=model, tool=tool, difference=problem, seconds=f"{seconds:.1f}")
    runners: dict[str, Callable[[Path], Run]] = {".onnx": onnx_runner, ".tflite": litert_runner}
    feeds = inputs_of(made if made.suffix == ".tflite" else source)
    plain = runners[source.suffix](source)
    before = fitted(plain, feeds[0])
    if before is None:
        return Row(
            model=model,
            tool=tool,
            codes=kept(source, made),
            difference="takes other inputs than the source",
            size=f"{made.stat().st_size / source.stat().st_size:.2f} ×",
            seconds=f"{seconds:.1f}",
        )
    try:
        after = runners[made.suffix](made)
        gap = difference(before, after, feeds)
        ratio = f"{duration(after, feeds[0]) / duration(before, feeds[0]):.1f} ×"
    except Exception as error:  # a file that its runtime refuses is a result
        gap, ratio = f"does not run: {str(error).splitlines()[0][:50]}", ""
    return Row(
        model=model,
        tool=tool,
        codes=kept(source, made),
        difference=gap,
        run=ratio,
        size=f"{made.stat().st_size / source.stat().st_size:.2f} ×",
        seconds=f"{seconds:.1f}",
    )


def rows(args: argparse.Namespace, scratch: Path) -> Iterator[Row]:
    """Both directions of every model."""
    bridge = [sys.executable, "-m", "w2e_bridge.cli.main", "convert"]
    for name in NAMES:
        source, out = args.models / f"{name}.tflite", scratch / name
        command = [*bridge, str(source), "--to", "onnx", "-o", str(out / "a")]
        yield measured(f"{name} → ONNX", "w2e-bridge", source, command, out / "a" / "model.onnx")
        if args.tf2onnx:
            made = out / "tf2onnx.onnx"
            tool = [args.tf2onnx, "-m", "tf2onnx.convert", "--tflite", str(source), "--output"]
            yield measured(f"{name} → ONNX", "tf2onnx", source, [*tool, str(made)], made)
        plain = out / "none"
        match = [*bridge, str(source), "--to", "onnx", "--match", "none", "-o", str(plain)]
        _, problem = convert(match, plain / "model.onnx")
        if problem:
            continue
        there = plain / "model.onnx"
        command = [*bridge, str(there), "--to", "tflite", "-o", str(out / "b")]
        yield measured(f"{name} → TFLite", "w2e-bridge", there, command, out / "b" / "model.tflite")
        if args.onnx2tf:
            copy = out / "copy.onnx"  # the tool rewrites its input
            shutil.copy(there, copy)
            made = out / "onnx2tf" / "copy_float32.tflite"
            tool = [args.onnx2tf, "-i", str(copy), "-o", str(made.parent), "-n"]
            yield measured(f"{name} → TFLite", "onnx2tf", there, tool, made)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tf2onnx", help="a Python that has tf2onnx")
    parser.add_argument("--onnx2tf", help="the program of that name")
    parser.add_argument("--models", type=Path, default=FIXTURES)
    args = parser.parse_args()
    print("| conversion | tool | codes kept | difference | run | size | seconds |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        for row in rows(args, Path(scratch)):
            cells = (row.model, row.tool, row.codes, row.difference, row.run, row.size, row.seconds)
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
