"""A model served with eight-bit weights, beside llama.cpp with the same: is it the same, and how fast?

After the commands of `base.py`, with the same OUT, MODEL and FOLDER:

    cargo build --release -p openledger-compute --example serving
    python compute/tests/reference/serving.py OUT MODEL [FOLDER]

Compares the canonical eight-bit weights, byte by byte, with what the package `gguf` makes of the same
checkpoint, and their logits with those of `f32`. With a FOLDER, llama.cpp reads the same weights, and how far
both are from `f32` behind the prompts' ends is compared; then both are timed in turns, and medians and ratios
printed.
Environment: SERVING, the example's binary; ROUNDS, how often each is timed.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from gguf.quants import dequantize, quantize

import base

ROUNDS = int(os.environ.get("ROUNDS", "5"))


def serving(out: pathlib.Path, *arguments: str, **environment: str) -> str:
    target = os.environ.get("CARGO_TARGET_DIR", "target")
    program = os.environ.get("SERVING", f"{target}/release/examples/serving")
    return subprocess.run([program, out, *arguments], check=True, capture_output=True, text=True,
                          env={**os.environ, **environment}).stdout


def tensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file, blocks as bytes."""
    data = path.read_bytes()
    head = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + head])
    header.pop("__metadata__")
    kinds = {"F32": np.float32, "U8": np.uint8}
    return {name: np.frombuffer(data, kinds[entry["dtype"]], int(np.prod(entry["shape"])),
                                8 + head + entry["data_offsets"][0]).reshape(entry["shape"])
            for name, entry in header.items()}


def compare_weights(out: pathlib.Path) -> bool:
    exact, ours = tensors(out / "checkpoint.safetensors"), tensors(out / "q8_0.safetensors")
    unequal = 0
    for name, values in exact.items():
        if values.ndim == 2:
            values = quantize(values, GGMLQuantizationType.Q8_0)
        unequal += int((values != ours.pop(name)).sum())
    right = unequal == 0 and not ours
    print(f"{len(exact)} tensors in eight bits, {unequal} bytes differ", "ok" if right else "FAILED")
    return right


def in_q8_0(model: str, path: pathlib.Path) -> None:
    """The same file with its maps in Q8_0."""
    reader = GGUFReader(model)
    out = GGUFWriter(path, "llama")
    for key, field in reader.fields.items():
        if not key.startswith("GGUF.") and key != "general.architecture":
            kind = field.types[0]
            out.add_key_value(key, field.contents(), kind, field.types[-1] if len(field.types) > 1 else None)
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if values.ndim == 2:
            kind = GGMLQuantizationType.Q8_0
            out.add_tensor(tensor.name, quantize(values, kind), raw_dtype=kind)
        else:
            out.add_tensor(tensor.name, values)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def compare_noise(out: pathlib.Path, folder: str) -> bool:
    """Behind the prompts' ends: both round activations, each its own way, so both are as far from `f32`."""
    ids, theirs = base.llama(folder, str(out / "q8_0.gguf"), out)
    vocab = theirs.shape[-1]

    def rows(name: str) -> np.ndarray:
        return base.log_softmax(np.fromfile(out / name, np.float32).reshape(-1, vocab))

    def divergence(of: np.ndarray, by: np.ndarray) -> float:
        return float((np.exp(of) * (of - by)).sum(-1).mean())

    ours = rows("q8_0.f32")
    exact = rows("logits.f32")[np.cumsum([len(tokens) for tokens in ids]) - 1]
    noise = divergence(exact, theirs)
    right = divergence(exact, ours) <= 1.5 * noise
    print(f"{len(exact)} ends of prompts, mean KL from f32 {divergence(exact, ours):.1e} nats, of llama.cpp with "
          f"the same weights {noise:.1e}, between both {divergence(theirs, ours):.1e}", "ok" if right else "FAILED")
    return right


def times(out: pathlib.Path, folder: str, threads: int) -> None:
    """Both in turns, so that whatever else the machine does happens to both."""
    script = pathlib.Path(__file__).with_name("llama_speed.mjs")
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(json.loads(serving(out, "--speed", str(threads))))
        llama = ["node", script, pathlib.Path(folder).resolve(), out / "q8_0.gguf", str(threads)]
        theirs.append(json.loads(subprocess.run(llama, check=True, capture_output=True).stdout))

    def row(what: str, a: list[float], b: list[float]) -> None:
        ratio = statistics.median(a) / statistics.median(b)
        ratios = sorted(x / y for x, y in zip(a, b))
        print(f"{what}: {statistics.median(a):.1f} against {statistics.median(b):.1f}, "
              f"{ratio:.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f})")

    def all_of(runs: list[dict], key: str) -> list[float]:
        return [run[key] for run in runs]

    print(f"{threads} threads, tokens per second of processor time, medians of {ROUNDS} (ratios of single runs)")
    row("decode, batch 1, against llama.cpp", all_of(ours, "decode"), all_of(theirs, "decode"))
    row("prefill of 512 tokens, against llama.cpp", all_of(ours, "prefill"), all_of(theirs, "prefill"))
    row("16 requests at once, against one", all_of(ours, "sixteen_requests"), all_of(ours, "request"))
    print(f"loading: {statistics.median(all_of(ours, 'load_seconds')):.1f} s;",
          f"llama.cpp used {theirs[0]['actual_threads']} threads")


def main() -> int:
    out, model = pathlib.Path(sys.argv[1]), sys.argv[2]
    print(serving(out, "--divergence"), end="")
    right = compare_weights(out)
    if len(sys.argv) > 3:
        folder = sys.argv[3]
        in_q8_0(model, out / "q8_0.gguf")
        right &= compare_noise(out, folder)
        for threads in sorted({1, os.cpu_count() or 1}):
            times(out, folder, threads)
        candle = serving(out, "--candle", RAYON_NUM_THREADS="1")
        print("candle's products alone, one thread:", candle, end="")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
