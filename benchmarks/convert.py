"""Conversion against a copy of the same file: seconds, ratio, and peak resident memory.

    python benchmarks/convert.py [--gigabytes 0.6] [--type Q4_0] [--runs 3] [--folder DIR]

Makes a llama of random weights (every block of them valid), then in turn, `runs` times: `cp` with
fsync, and `w2e-bridge convert … --to onnx` (which does its own fsync). The page cache holds the source
in both. Prints the medians; the ratio is of medians.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

HIDDEN, FEED, HEADS, KV_HEADS, VOCABULARY = 2048, 8192, 32, 8, 32000
CHUNK_ROWS = 1024


def shapes(layers: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of a llama of that many layers."""
    yield "token_embd.weight", (VOCABULARY, HIDDEN)
    for n in range(layers):
        yield f"blk.{n}.attn_norm.weight", (HIDDEN,)
        yield f"blk.{n}.attn_q.weight", (HIDDEN, HIDDEN)
        yield f"blk.{n}.attn_k.weight", (HIDDEN * KV_HEADS // HEADS, HIDDEN)
        yield f"blk.{n}.attn_v.weight", (HIDDEN * KV_HEADS // HEADS, HIDDEN)
        yield f"blk.{n}.attn_output.weight", (HIDDEN, HIDDEN)
        yield f"blk.{n}.ffn_norm.weight", (HIDDEN,)
        yield f"blk.{n}.ffn_gate.weight", (FEED, HIDDEN)
        yield f"blk.{n}.ffn_up.weight", (FEED, HIDDEN)
        yield f"blk.{n}.ffn_down.weight", (HIDDEN, FEED)
    yield "output_norm.weight", (HIDDEN,)
    yield "output.weight", (VOCABULARY, HIDDEN)


def make(path: Path, kind: str, gigabytes: float) -> None:
    """Write a GGUF of random blocks of about that size."""
    import gguf

    quantization = gguf.GGMLQuantizationType[kind]
    elements, size = gguf.GGML_QUANT_SIZES[quantization]
    layer = sum(int(np.prod(s)) for name, s in shapes(1) if name.startswith("blk"))
    rest = 2 * VOCABULARY * HIDDEN
    layers = max(1, round((gigabytes * 1e9 * elements / size - rest) / layer))
    writer = gguf.GGUFWriter(path, "llama", use_temp_file=False)
    for key, value in (
        ("context_length", 2048), ("embedding_length", HIDDEN), ("block_count", layers),
        ("feed_forward_length", FEED), ("head_count", HEADS), ("head_count_kv", KV_HEADS),
    ):  # fmt: skip
        getattr(writer, f"add_{key}")(value)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HIDDEN // HEADS)
    writer.add_vocab_size(VOCABULARY)
    for name, shape in shapes(layers):
        if len(shape) == 1:
            writer.add_tensor_info(name, shape, np.dtype(np.float32), 4 * shape[0])
        else:
            nbytes = shape[0] * shape[1] // elements * size
            packed = (shape[0], shape[1] // elements * size)
            writer.add_tensor_info(name, packed, np.dtype(np.uint8), nbytes, quantization)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    random = np.random.default_rng(0)
    for _, shape in shapes(layers):
        if len(shape) == 1:
            writer.write_tensor_data(np.ones(shape, np.float32))
        else:
            writer.write_tensor_data(blocks(random, shape[0], shape[1] // elements * size, size))
    writer.close()


def blocks(random: np.random.Generator, rows: int, row_bytes: int, size: int) -> np.ndarray:
    """Random bytes whose high bytes can't make a float16 scale infinite."""
    part = random.integers(0, 256, (min(rows, CHUNK_ROWS), row_bytes), dtype=np.uint8)
    part &= np.uint8(0x7F)
    part.reshape(part.shape[0], -1, size)[..., 1] &= np.uint8(0x23)
    return np.resize(part, (rows, row_bytes))


def copy(source: Path, folder: Path) -> float:
    """Seconds of a copy with fsync."""
    start = time.perf_counter()
    target = folder / "copy.gguf"
    subprocess.run(["cp", str(source), str(target)], check=True)
    handle = os.open(target, os.O_RDONLY)
    os.fsync(handle)
    os.close(handle)
    seconds = time.perf_counter() - start
    target.unlink()
    return seconds


def convert(source: Path, folder: Path) -> tuple[float, float]:
    """(seconds, peak resident MiB) of a conversion as a process of its own."""
    out = folder / "out"
    command = [str(Path(sys.executable).with_name("w2e-bridge")), "convert", str(source), "--to"]
    start = time.perf_counter()
    process = subprocess.Popen([*command, "onnx", "-o", str(out), "--quiet"])
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"conversion failed with status {status}")
    shutil.rmtree(out)
    return seconds, usage.ru_maxrss / 1024


def main() -> None:
    """Measure and print one row."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=0.6)
    parser.add_argument("--type", default="Q4_0")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as scratch:
        folder = Path(scratch)
        source = folder / "model.gguf"
        make(source, args.type, args.gigabytes)
        size = source.stat().st_size / 1e9
        copies, conversions, peaks = [], [], []
        for _ in range(args.runs):
            copies.append(copy(source, folder))
            seconds, peak = convert(source, folder)
            conversions.append(seconds)
            peaks.append(peak)
        base, ours = statistics.median(copies), statistics.median(conversions)
        print(
            f"{args.type} {size:.2f} GB: cp {base:.2f} s ({size / base:.2f} GB/s), "
            f"convert {ours:.2f} s ({size / ours:.2f} GB/s), {base / ours:.2f} x cp, "
            f"peak {max(peaks):.0f} MiB"
        )


if __name__ == "__main__":
    main()
