"""Tiny random models of architectures that the Decoder does not cover."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from spiritsafe.core.files.atomic import write_json
from spiritsafe.models.checkpoints.directory import write_lineage
from spiritsafe.models.sources.tiny import write_byte_tokenizer

SIZES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 96},
    "gpt_neox": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48},
    "mixtral": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 48,
        "num_local_experts": 4,
    },
    "cohere": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "intermediate_size": 48,
        "logit_scale": 0.25,
    },
    "gemma2": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "intermediate_size": 48,
        "final_logit_softcapping": 0.05,
    },
    "gemma3_text": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "intermediate_size": 48,
    },
    "phi3": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 48,
    },
    "qwen3_moe": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "moe_intermediate_size": 24,
        "num_experts": 4,
        "num_experts_per_tok": 2,
    },
    "mamba": {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4},
    "phi": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48},
}


def write_foreign(directory: Path, kind: str, **changes: Any) -> Path:
    """A model directory with byte tokenizer and lineage."""
    torch.manual_seed(11)
    limits = {} if kind == "gpt2" else {"max_position_embeddings": 96}
    config = AutoConfig.for_model(kind, vocab_size=260, initializer_range=0.3, **SIZES[kind], **limits, **changes)
    for name in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(config, name, None)
    AutoModelForCausalLM.from_config(config).save_pretrained(directory)
    special = write_byte_tokenizer(directory, max_length=96)
    write_json(directory / "generation_config.json", special)
    write_lineage(directory, name=kind, license="MIT")
    return directory
