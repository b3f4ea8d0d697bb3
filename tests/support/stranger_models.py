"""Tiny model directories off the usual path, as a user would bring them: without lineage, some without the Decoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from spiritsafe.core.files.atomic import write_json
from spiritsafe.models.sources.tiny import write_byte_tokenizer, write_tiny

CONTEXT = 1024
_SIZES: dict[str, Any] = {
    "vocab_size": 260,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": CONTEXT,
}


def write_stranger(directory: Path, kind: str, **config: Any) -> Path:
    """A random model of any architecture of transformers, with the tiny tokenizer and template."""
    directory.mkdir(parents=True, exist_ok=True)
    special = write_byte_tokenizer(directory, max_length=CONTEXT)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**_SIZES, **special, **config}))
    made.float().save_pretrained(directory)
    write_json(directory / "generation_config.json", special)
    return directory


def write_mixtral(directory: Path, **config: Any) -> Path:
    """A Mixtral of two layers with four experts, two of them active."""
    return write_stranger(directory, "mixtral", **{"num_local_experts": 4, "num_experts_per_tok": 2, **config})


def write_stray_llama(directory: Path, **extra: Any) -> Path:
    """The tiny Llama with keys in its ``config.json`` that no code reads: Unsloth's, unless others are given."""
    directory.mkdir(parents=True, exist_ok=True)
    write_tiny(directory, seed=0)
    path = directory / "config.json"
    config = json.loads(path.read_text("utf-8"))
    write_json(path, {**config, **(extra or {"unsloth_fixed": True, "unsloth_version": "2025.3.1"})})
    return directory


def count_forwards(model: torch.nn.Module) -> list[int]:
    """Tokens of each forward pass from now on, padding included."""
    computed: list[int] = []
    embedding = next(part for part in model.modules() if isinstance(part, torch.nn.Embedding))
    embedding.register_forward_hook(lambda part, ids, out: computed.append(ids[0].numel()))
    return computed
