"""Adapters of a real model, between openledger and `peft`: do both compute the same with them?

    pip install peft transformers torch safetensors
    cargo run --release -p openledger-compute --example base -- MODEL OUT compute/tests/reference/prompts.json
    python compute/tests/reference/adapters.py OUT make OUT/theirs    # an adapter that `peft` saves
    cargo run --release -p openledger-compute --example base -- MODEL OUT compute/tests/reference/prompts.json OUT/theirs
    python compute/tests/reference/adapters.py OUT compare OUT/theirs

The last compares the logits that the example has left with those of `peft` and `transformers`, behind every
token of the prompts. Instead of one that was made, `ADAPTER` may be one that `openledger model export` wrote.
Fails unless the mean divergence (KL) is at most 1e-3 nats and the likeliest token is the same wherever it
leads by more than 1e-3.
"""

import json
import pathlib
import sys

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import safe_open
from transformers import LlamaConfig, LlamaForCausalLM

KL = LEAD = 1e-3


def base(folder: pathlib.Path) -> LlamaForCausalLM:
    """The canonical checkpoint as `transformers` runs it."""
    with safe_open(folder / "checkpoint.safetensors", "pt") as file:
        shape = json.loads(file.metadata()["openledger"])["config"]
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    config = LlamaConfig(
        vocab_size=shape["vocab"], hidden_size=shape["width"], intermediate_size=shape["ffn"],
        num_hidden_layers=shape["layers"], num_attention_heads=shape["heads"],
        num_key_value_heads=shape["kv_heads"], max_position_embeddings=shape["context"],
        rope_theta=float(shape["rope_base"]), rms_norm_eps=shape.get("norm_ppb", 10_000) / 1e9,
        tie_word_embeddings="lm_head.weight" not in tensors)
    model = LlamaForCausalLM(config)
    missing, unknown = model.load_state_dict(tensors, strict=False)
    assert not unknown and set(missing) <= {"lm_head.weight"}, (missing, unknown)
    model.tie_weights()
    return model.eval()


def make(model: LlamaForCausalLM, folder: pathlib.Path) -> None:
    """An adapter of all linear maps, whose factors are both drawn: `peft` begins with zeros in one."""
    torch.manual_seed(7)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    adapted = get_peft_model(model, LoraConfig(
        task_type="CAUSAL_LM", r=8, lora_alpha=16, target_modules=targets))
    for name, values in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(values, std=0.02)
    adapted.save_pretrained(folder)


def compare(model: LlamaForCausalLM, adapter: pathlib.Path, folder: pathlib.Path) -> bool:
    """Whether our logits with the adapter are those of `peft`."""
    prompts = json.loads((folder / "ids.json").read_text())
    with torch.no_grad():
        alone = torch.cat([model(torch.tensor([ids])).logits[0] for ids in prompts])
        adapted = PeftModel.from_pretrained(model, adapter).eval()
        logits = torch.cat([adapted(torch.tensor([ids])).logits[0] for ids in prompts])
    ours = np.fromfile(folder / "logits.f32", np.float32).reshape(logits.shape)
    theirs = torch.log_softmax(logits.double(), -1)
    ours = torch.log_softmax(torch.from_numpy(ours).double(), -1)
    alone = torch.log_softmax(alone.double(), -1)

    def divergence(other: torch.Tensor) -> float:
        return (theirs.exp() * (theirs - other)).sum(-1).mean().item()

    two = theirs.topk(2, -1).values
    is_clear = two[:, 0] - two[:, 1] > LEAD
    is_same = theirs.argmax(-1) == ours.argmax(-1)
    right = bool(is_same[is_clear].all()) and divergence(ours) <= KL
    print(f"peft, {adapter.name}: {len(theirs)} positions, mean KL {divergence(ours):.1e} nats (the base "
          f"without the adapter: {divergence(alone):.1e}), the likeliest token the same in "
          f"{int(is_same.sum())}", "ok" if right else "FAILED")
    return right


def main() -> int:
    folder, what, adapter = pathlib.Path(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[3])
    model = base(folder)
    if what == "make":
        make(model, adapter)
        return 0
    return 0 if compare(model, adapter, folder) else 1


if __name__ == "__main__":
    sys.exit(main())
