"""GGUF files of tiny random models, written with the gguf library the way llama.cpp's converter does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from tokenizers import pre_tokenizers

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
WORDS = (("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("Ġ", "Ġ"), ("Ġ", "w"))
TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

HIDDEN, INNER, HEADS, KV_HEADS, WIDTH, LAYERS = 64, 96, 4, 2, 16, 2


def vocabulary() -> list[str]:
    merged = ["".join(pair) for pair in WORDS]
    return [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), *merged]


def permute(rows: np.ndarray, heads: int) -> np.ndarray:
    """llama.cpp's ``LlamaModel.permute``."""
    return rows.reshape(heads, 2, rows.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(rows.shape)


def hf_weights(architecture: str, *, tied: bool) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    size = len(vocabulary())
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (size, HIDDEN), "model.norm.weight": (HIDDEN,)}
    if not tied:
        shapes["lm_head.weight"] = (size, HIDDEN)
    for layer in range(LAYERS):
        stem = f"model.layers.{layer}."
        shapes |= {
            f"{stem}input_layernorm.weight": (HIDDEN,),
            f"{stem}post_attention_layernorm.weight": (HIDDEN,),
            f"{stem}self_attn.q_proj.weight": (HEADS * WIDTH, HIDDEN),
            f"{stem}self_attn.k_proj.weight": (KV_HEADS * WIDTH, HIDDEN),
            f"{stem}self_attn.v_proj.weight": (KV_HEADS * WIDTH, HIDDEN),
            f"{stem}self_attn.o_proj.weight": (HIDDEN, HEADS * WIDTH),
            f"{stem}mlp.gate_proj.weight": (INNER, HIDDEN),
            f"{stem}mlp.up_proj.weight": (INNER, HIDDEN),
            f"{stem}mlp.down_proj.weight": (HIDDEN, INNER),
        }
        if architecture == "qwen2":
            heads = {"q": HEADS, "k": KV_HEADS, "v": KV_HEADS}
            shapes |= {f"{stem}self_attn.{name}_proj.bias": (count * WIDTH,) for name, count in heads.items()}
        if architecture == "qwen3":
            shapes |= {f"{stem}self_attn.{n}_norm.weight": (WIDTH,) for n in "qk"}
    return {name: torch.randn(shape, generator=generator) * 0.2 + (len(shape) == 1) for name, shape in shapes.items()}


def gguf_name(name: str) -> str:
    top = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    parts = {
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "self_attn.q_norm": "attn_q_norm",
        "self_attn.k_norm": "attn_k_norm",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }
    stem, suffix = name.rsplit(".", 1)
    if stem in top:
        return f"{top[stem]}.{suffix}"
    layer, part = stem.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{parts[part]}.{suffix}"


def write_gguf(
    path: Path,
    *,
    architecture: str = "llama",
    tied: bool = True,
    kind: str = "Q8_0",
    pre: str = "smollm",
    extra: dict[str, Any] | None = None,
    skip: tuple[str, ...] = (),
    poison: str | None = None,
    model: str = "gpt2",
    rope_factors: np.ndarray | None = None,
) -> dict[str, torch.Tensor]:
    """Write the file; return the float weights it was made from, under Hugging Face's names and row order."""
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("Tiny")
    writer.add_string("general.license", "apache-2.0")
    writer.add_block_count(LAYERS)
    writer.add_context_length(256)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(50000.0)
    if architecture == "granite":
        writer.add_attention_scale(0.2)
        writer.add_embedding_scale(3.0)
        writer.add_residual_scale(0.5)
        writer.add_logit_scale(4.0)
    for key, value in (extra or {}).items():
        writer.add_uint32(key, value) if isinstance(value, int) else writer.add_string(key, value)
    tokens = vocabulary()
    writer.add_tokenizer_model(model)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types([3] * len(SPECIAL) + [1] * (len(tokens) - len(SPECIAL)))
    writer.add_token_merges([" ".join(pair) for pair in WORDS])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template(TEMPLATE)
    weights = hf_weights(architecture, tied=tied)
    for name, tensor in weights.items():
        if gguf_name(name) in skip:
            continue
        values = tensor.numpy().copy()
        if architecture in ("llama", "granite") and ".q_proj." in name:
            values = permute(values, HEADS)
        if architecture in ("llama", "granite") and ".k_proj." in name:
            values = permute(values, KV_HEADS)
        if name == poison:
            values.reshape(-1)[0] = np.nan
        quantised = gguf.GGMLQuantizationType[kind] if values.ndim == 2 else gguf.GGMLQuantizationType.F32
        writer.add_tensor(gguf_name(name), gguf.quantize(values, quantised), raw_dtype=quantised)
    if rope_factors is not None:
        writer.add_tensor("rope_freqs.weight", rope_factors.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return weights
